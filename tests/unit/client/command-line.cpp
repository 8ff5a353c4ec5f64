// SPDX-License-Identifier: Apache-2.0
#include "command-line.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bus/bus-error.hpp"
#include "catch.hpp"

using namespace imagectl;

TEST_CASE("paths of local transports become absolute, names of registries stay", "[command-line]") {
    const auto here = std::filesystem::current_path().string();
    CHECK(absolute_image("oci:images/host:stable") == "oci:" + here + "/images/host:stable");
    CHECK(absolute_image("oci:./host") == "oci:" + here + "/host");
    CHECK(absolute_image("ostree-unverified-image:oci:host:v1") == "ostree-unverified-image:oci:" + here + "/host:v1");
    CHECK(absolute_image("oci-archive:a.tar") == "oci-archive:" + here + "/a.tar");
    for (const char* image : {"oci:/srv/host:stable", "docker://registry.example/oci:latest",
                              "docker://registry.example:5000/dir:1", "containers-storage:x", "oci:"})
        CHECK(absolute_image(image) == image);
}

TEST_CASE("a reference without a transport is one of a registry, a short name one of docker.io", "[command-line]") {
    CHECK(with_transport("debian:12") == "docker://docker.io/library/debian:12");
    CHECK(with_transport("debian") == "docker://docker.io/library/debian");
    CHECK(with_transport("library/debian:12") == "docker://docker.io/library/debian:12");
    CHECK(with_transport("quay.io/a/b") == "docker://quay.io/a/b");
    CHECK(with_transport("localhost/a:1") == "docker://localhost/a:1");
    CHECK(with_transport("127.0.0.1:5000/a") == "docker://127.0.0.1:5000/a");
    CHECK(with_transport("a@sha256:00") == "docker://docker.io/library/a@sha256:00");
    // Images of docker.io whose names are those of transports.
    CHECK(with_transport("registry:2") == "docker://docker.io/library/registry:2");
    CHECK(with_transport("docker:27-dind") == "docker://docker.io/library/docker:27-dind");
    for (const char* image :
         {"", "docker:", "registry:", "docker:/a", "registry:host:5000", "docker://a", "docker://a/b", "registry:a/b",
          "oci:x", "dir:x", "ostree-unverified-image:oci:x", "/srv/x", "./x", "http://a/b", "containers-storage:x"})
        CHECK(with_transport(image) == image);
}

namespace {

constexpr VerbOption own[] = {{"flag", nullptr, "A flag"}};
constexpr VerbHelp verb = {"verb", "[IMAGE…]", "A verb", "", VerbHelp::job, own};

Arguments parsed(std::vector<std::string> words) {
    Arguments arguments;
    parse_verb(verb, std::move(words), arguments);
    return arguments;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("what follows -- is no option", "[command-line]") {
    CHECK(parsed({"a", "--", "--json"}).positional == Words{"a", "--json"});
    CHECK_FALSE(parsed({"a", "--", "--json"}).json);
    CHECK(parsed({"--", "--flag"}).positional == Words{"--flag"});
    CHECK(parsed({"a", "--flag", "--", "b"}).positional == Words{"a", "b"});
    CHECK(parsed({"a", "--", "b", "--", "c"}).positional == Words{"a", "b", "--", "c"});
    // The verb's own words are not touched when the options in front of it are taken.
    const auto rest = [](Words words) {
        Arguments arguments;
        bool help = false, version = false;
        parse_global(words, arguments, help, version);
        return words;
    };
    CHECK(rest({"--json", "verb", "a", "--", "--json"}) == Words{"verb", "a", "--", "--json"});
    CHECK(rest({"--", "verb", "--", "a"}) == Words{"verb", "--", "a"});
    CHECK(rest({"--", "--verb"}) == Words{"--verb"});
}

TEST_CASE("the summaries of all verbs begin in one column", "[command-line]") {
    static constexpr VerbHelp longer = {"longer", "IMAGE DESTINATION…", "Another verb", "", VerbHelp::none, {}};
    const auto help = global_help({&verb, &longer});
    CHECK(help.find("\n  verb [IMAGE…]              A verb\n"
                    "  longer IMAGE DESTINATION…  Another verb\n") != std::string::npos);
}

TEST_CASE("a descriptor for progress is one that is open", "[command-line]") {
    for (const char* fd : {"-1", "0", "2", "12345", "-2147483647"}) {
        INFO(fd);
        CHECK_THROWS_AS(parsed({std::string("--progress-fd=") + fd}), UsageError);
    }
    CHECK_FALSE(parsed({"a"}).progress_fd.has_value());
}
