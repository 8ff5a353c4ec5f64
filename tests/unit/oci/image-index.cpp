// SPDX-License-Identifier: Apache-2.0
#include "oci/image-index.hpp"
#include "base/json.hpp"

#include <vector>

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;
using nlohmann::json;

namespace {

std::string digest(char name) {
    return "sha256:" + std::string(64, name);
}

json manifest_entry(char name, const std::string& architecture, const std::string& variant = {}) {
    json described{{"digest", digest(name)}, {"size", 1U}};
    if (!architecture.empty()) {
        described["platform"] = {{"os", "linux"}, {"architecture", architecture}};
        if (!variant.empty()) described["platform"]["variant"] = variant;
    }
    return described;
}

char chosen(const std::vector<json>& entries) {
    return choose_for_host(json{{"manifests", entries}}).digest.hex().front();
}

}  // namespace

TEST_CASE("the entry for this host without a variant is chosen, whatever its place", "[image-index]") {
    const auto host = host_architecture();
    CHECK(chosen({manifest_entry('a', host, "v3"), manifest_entry('b', "other"), manifest_entry('c', host),
                  manifest_entry('d', host)}) == 'c');
    CHECK(chosen({manifest_entry('a', "other"), manifest_entry('b', "")}) == 'b');
    CHECK(chosen({manifest_entry('a', ""), manifest_entry('b', host)}) == 'b');
}

TEST_CASE("an index without an entry for this host is refused by the platforms that it has", "[image-index]") {
    CHECK_THROWS_WITH(chosen({manifest_entry('a', "other", "v9")}), containing("linux/other/v9"));
    CHECK_THROWS_WITH(chosen({}), containing("no manifests"));
}

TEST_CASE("a manifest that an index lists is found by its digest", "[image-index]") {
    const auto text =
        json{{"schemaVersion", 2}, {"manifests", json::array({manifest_entry('a', "x"), manifest_entry('b', "y")})}}
            .dump();
    CHECK(listed_manifest(text, Digest::parse(digest('b')))->size == 1);
    CHECK_FALSE(listed_manifest(text, Digest::parse(digest('c'))));
    CHECK_FALSE(listed_manifest("{\"layers\": []}", Digest::parse(digest('a'))));
}
