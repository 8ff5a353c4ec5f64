// SPDX-License-Identifier: Apache-2.0
#include "store/export/image-copy.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.hpp"
#include "catch.hpp"
#include "stored-image-builder.hpp"

using namespace imaged;

namespace {

class Silent : public ImportObserver {
public:
    void phase(ImportPhase) override {}
    void layers(const std::vector<ImageLayer>&, const std::vector<bool>&) override {}
    void fetched(std::size_t, std::size_t) override {}
    void finished(std::size_t) override {}
};

const std::string reference = "docker://registry.example/image:1";

std::string repository_of_mode(const TemporaryDirectory& directory, const std::string& mode) {
    const auto path = directory.path + "/" + mode;
    const auto command = "ostree --repo=" + path + " init --mode=" + mode;
    REQUIRE(std::system(command.c_str()) == 0);
    remove_reserve(path);
    return path;
}

CopiedImage run_copy(const std::string& from, const std::string& to, const std::string& target = "") {
    CopyRequest request{from, to, false, ImageReference::parse(reference), {}};
    if (!target.empty()) request.target = ImageReference::parse(target);
    Silent observer;
    const Cancellation cancellation;
    return copy_image(request, cancellation, observer);
}

// Files, one of them large, one empty, one a link; a dirtree and a commit a layer.
Checksum build(TemporaryRepository& to) {
    return StoredImageBuilder(to)
        .layer({{"usr/bin/tool", "a tool"}, {"usr/empty", ""}, {"usr/lib/big", std::string(300'000, 'x')}},
               {{"usr/bin/sh", "tool"}})
        .layer({{"usr/bin/tool", "a newer tool"}})
        .finish(reference);
}

bool fsck(const std::string& path) {
    return std::system(("ostree --repo=" + path + " fsck --quiet >/dev/null").c_str()) == 0;
}

std::string object_path(const std::string& repository, const Checksum& checksum, const std::string& suffix) {
    const auto hex = checksum.hex();
    return repository + "/objects/" + hex.substr(0, 2) + "/" + hex.substr(2) + suffix;
}

Checksum first_file(const std::string& repository) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(repository + "/objects")) {
        if (entry.is_regular_file() && entry.path().extension() == ".file")
            return Checksum::from_hex(entry.path().parent_path().filename().string() + entry.path().stem().string())
                .value();
    }
    throw std::runtime_error("no file object");
}

}  // namespace

TEST_CASE("Every pair of repository modes copies an image whole", "[image-copy]") {
    TemporaryRepository origin;
    const auto merge = build(origin);
    const TemporaryDirectory directory;
    for (const std::string first : {"bare", "bare-user", "archive"}) {
        if (first == "bare" && ::geteuid() != 0) continue;
        for (const std::string second : {"bare", "bare-user", "archive"}) {
            if (second == "bare" && ::geteuid() != 0) continue;
            INFO(first << " to " << second);
            const TemporaryDirectory apart;
            const auto from = repository_of_mode(apart, first);
            const TemporaryDirectory elsewhere;
            const auto to = repository_of_mode(elsewhere, second);
            run_copy(origin.path, from);
            const auto copied = run_copy(from, to);
            CHECK(copied.changed);
            CHECK(copied.image.merge_commit == merge);
            CHECK(Repository(to).all_refs() == origin.repository.all_refs());
            CHECK(fsck(to));
            if (first == second) {
                CHECK(copied.objects.copied == 0);
                CHECK(copied.objects.linked > 0);
            }
        }
    }
}

TEST_CASE("A second copy finds everything there", "[image-copy]") {
    TemporaryRepository origin, destination;
    build(origin);
    const auto first = run_copy(origin.path, destination.path);
    const auto second = run_copy(origin.path, destination.path);
    CHECK_FALSE(second.changed);
    CHECK(second.previous_digest == first.image.digest);
    CHECK(second.objects.linked + second.objects.copied == 0);
    // The commits alone: what they reach is known to be whole.
    CHECK(second.objects.present == 3);
}

TEST_CASE("A copy brings what the destination lacks although its refs are there", "[image-copy]") {
    TemporaryRepository origin, destination;
    build(origin);
    run_copy(origin.path, destination.path);
    std::filesystem::remove(object_path(destination.path, first_file(destination.path), ".file"));
    const auto again = run_copy(origin.path, destination.path);
    CHECK(again.changed);
    CHECK(again.objects.linked == 1);
    CHECK(fsck(destination.path));
}

TEST_CASE("A copy is stored under the target, in the same repository as well", "[image-copy]") {
    TemporaryRepository origin;
    const auto merge = build(origin);
    const auto copied = run_copy(origin.path, origin.path, "docker://other.example/image:2");
    CHECK(copied.changed);
    CHECK_FALSE(copied.previous_digest);
    CHECK(origin.repository.resolve(image_ref(ImageReference::parse("docker://other.example/image:2"))).commit ==
          merge);
    CHECK(copied.objects.linked + copied.objects.copied == 0);
}

TEST_CASE("Signatures come along", "[image-copy]") {
    TemporaryRepository origin, destination;
    const auto merge = build(origin);
    const auto metadata = adopt_variant(g_variant_new_parsed("{'ostree.gpgsigs': <[b'x']>}"));
    const std::string bytes(static_cast<const char*>(g_variant_get_data(metadata.get())),
                            g_variant_get_size(metadata.get()));
    origin.repository.write_detached_metadata(merge, bytes);
    run_copy(origin.path, destination.path);
    CHECK(destination.repository.detached_metadata(merge) == bytes);
}

TEST_CASE("A source that lacks an object leaves no ref and no commit", "[image-copy]") {
    TemporaryRepository origin, destination;
    const auto merge = build(origin);
    std::filesystem::remove(object_path(origin.path, first_file(origin.path), ".file"));
    try {
        run_copy(origin.path, destination.path);
        FAIL("the copy went through");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::repository_damaged);
    }
    CHECK(destination.repository.all_refs().empty());
    CHECK_FALSE(std::filesystem::exists(object_path(destination.path, merge, ".commit")));
}

TEST_CASE("A corrupt object is found when its content is copied", "[image-copy]") {
    TemporaryRepository origin;
    build(origin);
    const auto file = object_path(origin.path, first_file(origin.path), ".file");
    std::filesystem::resize_file(file, std::filesystem::file_size(file) + 1);
    const TemporaryDirectory directory;
    const auto archive = repository_of_mode(directory, "archive");
    try {
        run_copy(origin.path, archive);
        FAIL("the copy went through");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::repository_damaged);
    }
    CHECK(Repository(archive).all_refs().empty());
}

TEST_CASE("What is not there is said to be not there", "[image-copy]") {
    TemporaryRepository origin, destination;
    const auto kind_of = [](const auto& function) {
        try {
            function();
        } catch (const Error& error) {
            return error.kind();
        }
        return ErrorKind::failed;
    };
    CHECK(kind_of([&] { run_copy(origin.path, destination.path); }) == ErrorKind::not_found);
    CHECK(kind_of([&] { run_copy(origin.path + "-no", destination.path); }) == ErrorKind::not_found);
    build(origin);
    CHECK(kind_of([&] { run_copy(origin.path, destination.path + "-no"); }) == ErrorKind::not_found);
    const TemporaryDirectory directory;
    CHECK(kind_of([&] { run_copy(origin.path, repository_of_mode(directory, "bare-user-only")); }) ==
          ErrorKind::unsupported_image);
}
