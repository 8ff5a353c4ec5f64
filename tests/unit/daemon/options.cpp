// SPDX-License-Identifier: Apache-2.0
#include "bus/options.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <span>

#include "base/child-process.hpp"
#include "base/error.hpp"
#include "base/kept-file.hpp"
#include "base/socket-message.hpp"
#include "catch.hpp"

namespace {

using namespace imaged;

const std::string digest = "sha256:" + std::string(64, 'a');
const std::string image = "docker://registry.example/os:1";

template <typename Work>
JobArguments parse_options(const VariantMap& options) {
    Work work;
    work.image = ImageReference::parse(image);
    return parse_job_arguments(work, options, "/repo");
}

template <typename Work>
std::string refused_options(const VariantMap& options, ErrorKind expected = ErrorKind::invalid_argument) {
    try {
        parse_options<Work>(options);
    } catch (const Error& error) {
        CHECK(error.kind() == expected);
        return error.what();
    }
    return "accepted";
}

// What comes in the place of a caller's DESCRIPTOR.
FileDescriptor kept(int descriptor) {
    auto stream = make_socket_pair(SOCK_STREAM), pair = make_socket_pair(SOCK_SEQPACKET);
    auto ready = make_pipe();
    char byte = 0;
    iovec part{&byte, sizeof byte};
    REQUIRE(send_message(stream.theirs.get(), std::span(&part, 1), std::span(&descriptor, 1)) == 1);
    const int end = pair.theirs.get();
    if (ChildProcess::copy("fork").is_copy()) keep_files(stream.ours.get(), std::span(&end, 1), ready.theirs.get());
    ready.theirs.reset();
    REQUIRE(::read(ready.ours.get(), &byte, sizeof byte) == 0);
    return std::move(pair.ours);
}

VariantMap with_socket(const FileDescriptor& socket) {
    return {{"authfile", sdbus::Variant(sdbus::UnixFd(socket.get()))}};
}

VariantMap with_descriptor(int descriptor) {
    return with_socket(kept(descriptor));
}

}  // namespace

TEST_CASE("every option reaches the request") {
    const auto arguments = parse_options<job::Import>({{"digest", sdbus::Variant(digest)},
                                                       {"target", sdbus::Variant(std::string("docker://other/name:1"))},
                                                       {"bind-to-caller", sdbus::Variant(true)},
                                                       {"interactive", sdbus::Variant(true)}});
    const auto& import = *arguments.request.as<job::Import>();
    CHECK(import.digest->text() == digest);
    CHECK(import.target->canonical() == "docker://other/name:1");
    CHECK(arguments.request.repository == "/repo");
    CHECK(arguments.bind_to_caller);
    CHECK(arguments.interactive);
}

TEST_CASE("a path has one spelling, and is absolute") {
    CHECK(parse_path("repository", "/srv//a/./repo/") == "/srv/a/repo");
    CHECK(parse_path("repository", "/srv/a/../repo") == "/srv/a/../repo");
    CHECK(parse_path("repository", "/") == "/");
    for (const std::string path : {"", "repo", "./repo"}) CHECK_THROWS_AS(parse_path("repository", path), Error);
}

TEST_CASE("an option at its default is not part of the request") {
    const auto copy = [](const VariantMap& options) {
        const job::Copy work{.image = ImageReference::parse(image), .repository = "/other"};
        return parse_job_arguments(work, options, "/repo").request;
    };
    CHECK(copy({{"from", sdbus::Variant(false)}}) == copy({}));
    CHECK(copy({{"from", sdbus::Variant(true)}}).as<job::Copy>()->from);
}

TEST_CASE("an unknown option is refused by name") {
    CHECK(refused_options<job::Pull>({{"colour", sdbus::Variant(true)}}) == "option \"colour\": unknown");
    CHECK(refused_options<job::Prepare>({{"digest", sdbus::Variant(digest)}}) == "option \"digest\": unknown");
}

TEST_CASE("a wrong type is refused by name") {
    CHECK(refused_options<job::Pull>({{"digest", sdbus::Variant(true)}}) ==
          "option \"digest\": wrong type \"b\", must be \"s\"");
    CHECK(refused_options<job::Pull>({{"bind-to-caller", sdbus::Variant(std::string("yes"))}}) ==
          "option \"bind-to-caller\": wrong type \"s\", must be \"b\"");
    CHECK(refused_options<job::Pull>({{"authfile", sdbus::Variant(std::string("/etc/shadow"))}}) ==
          "option \"authfile\": wrong type \"s\", must be \"h\"");
}

TEST_CASE("ImportImage needs a digest") {
    CHECK(refused_options<job::Import>({}) == "option \"digest\": missing");
    CHECK_NOTHROW(parse_options<job::Pull>({}));
}

TEST_CASE("a digest must be one") {
    for (const std::string wrong : {"", "sha256:12", "latest", "sha512:00"}) {
        CHECK(refused_options<job::Pull>({{"digest", sdbus::Variant(wrong)}}).starts_with("option \"digest\": "));
    }
}

TEST_CASE("a target must be a reference without a signature source") {
    CHECK(
        refused_options<job::Pull>({{"target", sdbus::Variant(std::string("nonsense"))}}, ErrorKind::invalid_reference)
            .starts_with("option \"target\": "));
    CHECK(
        refused_options<job::Pull>({{"target", sdbus::Variant(std::string("ostree-unverified-image:docker://a/b:c"))}})
            .find("signature source") != std::string::npos);
}

TEST_CASE("a target that is the image itself is no target") {
    CHECK_FALSE(parse_options<job::Pull>({{"target", sdbus::Variant(image)}}).request.as<job::Pull>()->target);
}

TEST_CASE("a reference over the limit is refused") {
    try {
        image_list({"docker://" + std::string(5000, 'a')}, false);
        FAIL("accepted");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::invalid_reference);
        CHECK(std::string(error.what()).size() < 512);
    }
}

TEST_CASE("too many options are refused") {
    VariantMap options;
    for (int count = 0; count < 65; ++count) options.emplace(std::to_string(count), sdbus::Variant(true));
    CHECK(refused_options<job::Pull>(options) == "more than 64 options");
}

TEST_CASE("the credentials' descriptor is looked at before it is taken") {
    std::string path = "/tmp/imaged-options-XXXXXX";
    FileDescriptor file(::mkstemp(path.data()));
    ::unlink(path.c_str());
    REQUIRE(file);
    CHECK(parse_options<job::Pull>(with_descriptor(file.get())).files.auth);
    REQUIRE(::ftruncate(file.get(), 2 * 1024 * 1024) == 0);
    CHECK(refused_options<job::Pull>(with_descriptor(file.get())).find("larger") != std::string::npos);
    const FileDescriptor directory(::open("/tmp", O_RDONLY | O_DIRECTORY));
    CHECK(refused_options<job::Pull>(with_descriptor(directory.get())).find("regular file") != std::string::npos);
    const FileDescriptor null(::open("/dev/null", O_RDONLY));
    CHECK(refused_options<job::Pull>(with_descriptor(null.get())).find("regular file") != std::string::npos);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const FileDescriptor reading(ends[0]), writing(ends[1]);
    CHECK(parse_options<job::Pull>(with_descriptor(reading.get())).files.auth);
    CHECK(refused_options<job::Pull>(with_descriptor(writing.get())).find("reading") != std::string::npos);
    const FileDescriptor name(::open("/etc/passwd", O_PATH));
    CHECK(refused_options<job::Pull>(with_descriptor(name.get())).find("reading") != std::string::npos);
}

TEST_CASE("a descriptor that nobody keeps is refused") {
    const auto pair = make_socket_pair(SOCK_SEQPACKET);
    CHECK(refused_options<job::Pull>(with_socket(pair.ours)).find("cannot be examined") != std::string::npos);
    refuse_file(pair.theirs.get());
    CHECK(refused_options<job::Pull>(with_socket(pair.ours), ErrorKind::queue_full).find("too many") !=
          std::string::npos);
}
