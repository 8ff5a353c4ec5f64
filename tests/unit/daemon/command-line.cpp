// SPDX-License-Identifier: Apache-2.0
#include "process/command-line.hpp"

#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"

namespace {

imaged::CommandLine parse_words(std::vector<std::string> words) {
    words.insert(words.begin(), "imaged");
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    return imaged::parse_command_line(static_cast<int>(words.size()), arguments.data());
}

}  // namespace

TEST_CASE("without options imaged serves the system's repository") {
    const auto line = parse_words({});
    CHECK_FALSE(line.session);
    CHECK_FALSE(line.repository);
    CHECK(imaged::Config().idle_timeout == std::chrono::seconds(60));
}

TEST_CASE("the deployments are those of the system that the repository is of") {
    const auto sysroot = [](const std::vector<std::string>& words) {
        return imaged::read_config(parse_words(words)).config.sysroot;
    };
    CHECK(sysroot({"--session", "--repository", "/ostree/repo"}) == "/");
    CHECK(sysroot({"--session", "--repository", "/mnt/host/ostree/repo"}) == "/mnt/host");
    CHECK(sysroot({"--session", "--repository", "/srv/images"}) == "/");
    CHECK(sysroot({"--session", "--repository", "/srv/images", "--sysroot", "/mnt/host"}) == "/mnt/host");
}

TEST_CASE("a session's repository is the user's") {
    ::setenv("XDG_DATA_HOME", "/data", 1);
    CHECK(imaged::read_config(parse_words({"--session"})).config.repository == "/data/imaged/repo");
    ::unsetenv("XDG_DATA_HOME");
    ::setenv("HOME", "/home/me", 1);
    CHECK(imaged::read_config(parse_words({"--session"})).config.repository == "/home/me/.local/share/imaged/repo");
}

TEST_CASE("a bus address brings the rules of a session") {
    CHECK(parse_words({"--bus-address", "unix:path=/x"}).session);
}

TEST_CASE("paths become absolute") {
    CHECK(parse_words({"--repository", "repo"}).repository->starts_with('/'));
    CHECK(parse_words({"--config", "conf"}).config->starts_with('/'));
}

TEST_CASE("a session knows nothing of the system's configuration, and the command line goes before any") {
    const auto read = imaged::read_config(parse_words({"--session", "--repository", "/r", "--idle-timeout", "5"}));
    CHECK(read.config.repository == "/r");
    CHECK(read.config.idle_timeout == std::chrono::seconds(5));
    CHECK(read.warnings.empty());
}

TEST_CASE("paths that are not UTF-8 are refused") {
    for (const auto* option : {"--repository", "--sysroot", "--proxy-socket"})
        CHECK_THROWS_AS(imaged::read_config(parse_words({"--session", "--repository", "/r", option, "/r\xff"})),
                        imaged::Error);
    CHECK_NOTHROW(imaged::read_config(parse_words({"--session", "--repository", "/r\xc3\xa9"})));
}

TEST_CASE("wrong command lines are refused") {
    CHECK_THROWS_AS(parse_words({"--idle-timeout", "soon"}), imaged::Error);
    CHECK_THROWS_AS(parse_words({"--idle-timeout", "-1"}), imaged::Error);
    CHECK_THROWS_AS(parse_words({"--pass-environment", "A=B"}), imaged::Error);
    CHECK_THROWS_AS(parse_words({"--log-level", "loud"}), imaged::Error);
    CHECK_THROWS_AS(parse_words({"--colour"}), imaged::Error);
    CHECK_THROWS_AS(parse_words({"--repository"}), imaged::Error);
    CHECK_THROWS_AS(parse_words({"stray"}), imaged::Error);
}
