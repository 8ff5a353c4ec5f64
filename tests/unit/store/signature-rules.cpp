// SPDX-License-Identifier: Apache-2.0
#include "store/records/signature-rules.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "store/repository/repository-writer.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

namespace {

const std::string image = "docker://registry.example/os:1", ref = "ostree/container/image/docker_3A_a";

struct Store {
    TemporaryRepository home;
    const int fd = home.repository.fd();
    const std::filesystem::path file = std::filesystem::path(home.path) / signature_rules_path;
    const Checksum first = *Checksum::from_hex(std::string(64, '1'));
    const Checksum second = *Checksum::from_hex(std::string(64, '2'));

    void note(const Checksum& commit, const std::string& rule) const {
        note_signature_rule(fd, image, ref, commit, rule);
    }
    std::string rule(const Checksum& commit, const std::string& of = image) const {
        const auto rules = read_signature_rules(fd);
        const auto* const found = rule_of(rules, of, commit);
        return found == nullptr ? "unknown" : *found;
    }
};

}  // namespace

TEST_CASE("a rule is known of the commit that it let in, under the name that it was let in by") {
    const Store store;
    CHECK(store.rule(store.first) == "unknown");
    store.note(store.first, "signedBy (default)");
    CHECK(store.rule(store.first) == "signedBy (default)");
    CHECK(store.rule(store.second) == "unknown");
    CHECK(store.rule(store.first, "docker://registry.example/other:1") == "unknown");
    CHECK(is_signature_rule_noted(store.fd, image, store.first, "signedBy (default)"));
    CHECK_FALSE(is_signature_rule_noted(store.fd, image, store.first, "insecureAcceptAnything (default)"));
    store.note(store.first, "insecureAcceptAnything (default)");
    CHECK(store.rule(store.first) == "insecureAcceptAnything (default)");
    forget_signature_rules(store.fd, image);
    CHECK(store.rule(store.first) == "unknown");
}

TEST_CASE("rules of versions that are kept stay, those of others do not") {
    for (const bool is_kept : {false, true}) {
        Store store;
        store.note(store.first, "signedBy (default)");
        if (is_kept) {
            const auto kept = std::filesystem::path(store.home.path) / "refs/heads/imaged/kept/docker_3A_a";
            std::filesystem::create_directories(kept);
            std::ofstream(kept / "version.1") << store.first.hex() << '\n';
        }
        store.note(store.second, "sigstoreSigned (default)");
        CHECK(store.rule(store.second) == "sigstoreSigned (default)");
        CHECK(store.rule(store.first) == (is_kept ? "signedBy (default)" : "unknown"));
    }
}

TEST_CASE("a rule that is empty or too long is not noted, and takes nothing away") {
    const Store store;
    store.note(store.first, "signedBy (default)");
    for (const auto& rule : {std::string(), std::string(max_signature_rule + 1, 'x')}) {
        CHECK(is_signature_rule_noted(store.fd, image, store.first, rule));
        store.note(store.first, rule);
        CHECK(store.rule(store.first) == "signedBy (default)");
    }
    store.note(store.first, std::string(max_signature_rule, 'x'));
    CHECK(store.rule(store.first).size() == max_signature_rule);
    store.note(store.first, "no text: \xff");
    CHECK(store.rule(store.first) != "signedBy (default)");
}

TEST_CASE("a record of rules with nonsense in it, or that others may write, counts as empty") {
    const Store store;
    store.note(store.first, "signedBy (default)");
    std::filesystem::permissions(store.file, std::filesystem::perms::all);
    CHECK(store.rule(store.first) == "unknown");
    for (const char* text :
         {"", "[]", R"({"docker://registry.example/os:1": 7})", R"({"docker://registry.example/os:1": {"1": []}})"}) {
        std::filesystem::remove(store.file);
        std::ofstream(store.file) << text;
        CHECK(store.rule(store.first) == "unknown");
        store.note(store.first, "signedBy (default)");
        CHECK(store.rule(store.first) == "signedBy (default)");
    }
}
