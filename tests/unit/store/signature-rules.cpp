// SPDX-License-Identifier: Apache-2.0
#include "store/records/signature-rules.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "catch.hpp"
#include "checksum-of.hpp"
#include "store/files/repository-writer.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

namespace {

const std::string image = "docker://registry.example/os:1", ref = "ostree/container/image/docker_3A_a";

struct RulesStore {
    TemporaryRepository home;
    const int fd = home.repository.fd();
    const std::filesystem::path file = std::filesystem::path(home.path) / signature_rules_path(image);
    const Checksum first = checksum_of('1');
    const Checksum second = checksum_of('2');

    void note(const Checksum& commit, const std::string& rule) const {
        note_signature_rule(fd, image, ref, commit, rule);
    }
    std::string rule(const Checksum& commit, const std::string& of = image) const {
        SignatureRules rules(fd);
        rules.refresh();
        const auto* const found = rules.of(of, commit);
        return found == nullptr ? "unknown" : *found;
    }
};

}  // namespace

TEST_CASE("a rule is known of the commit that it let in, under the name that it was let in by") {
    const RulesStore store;
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
        RulesStore store;
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
    const RulesStore store;
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

TEST_CASE("a record of rules that is invalid, or that others may write, counts as empty") {
    const RulesStore store;
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

TEST_CASE("what a rule costs to note does not depend on how many images have one") {
    const RulesStore store;
    const auto other = [](int i) { return "docker://registry.example/other:" + std::to_string(i); };
    for (int i = 0; i < 3000; ++i)
        note_signature_rule(store.fd, other(i), ref, store.first, "signedBy " + std::to_string(i));
    store.note(store.first, "signedBy (default)");
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(store.file.parent_path())) {
        ++files;
        // Twelve images are the mean.
        CHECK(entry.file_size() < 40 * 150);
    }
    CHECK(files == 256);
    SignatureRules rules(store.fd);
    CHECK(rules.refresh());
    for (int i = 0; i < 3000; ++i) {
        const auto* const rule = rules.of(other(i), store.first);
        REQUIRE(rule != nullptr);
        CHECK(*rule == "signedBy " + std::to_string(i));
    }
    CHECK_FALSE(rules.refresh());
    store.note(store.second, "sigstoreSigned (default)");
    CHECK(rules.refresh());
    REQUIRE(rules.of(image, store.second) != nullptr);
    CHECK(*rules.of(image, store.second) == "sigstoreSigned (default)");
}

TEST_CASE("a listing sees a rule that is noted at any time after it looked, and one that is forgotten") {
    using namespace std::chrono_literals;
    for (const auto pause : {0ms, 150ms}) {
        const RulesStore store;
        SignatureRules rules(store.fd);
        CHECK_FALSE(rules.refresh());
        for (const std::string rule : {"signedBy (default)", "sigstoreSigned (default)"}) {
            store.note(store.first, rule);
            std::this_thread::sleep_for(pause);
            CHECK(rules.refresh());
            REQUIRE(rules.of(image, store.first) != nullptr);
            CHECK(*rules.of(image, store.first) == rule);
            CHECK_FALSE(rules.refresh());
        }
        forget_signature_rules(store.fd, image);
        CHECK(rules.refresh());
        CHECK(rules.of(image, store.first) == nullptr);
        store.note(store.first, "reject");
        CHECK(rules.refresh());
        std::filesystem::remove_all(store.file.parent_path());
        CHECK(rules.refresh());
        CHECK(rules.of(image, store.first) == nullptr);
    }
}
