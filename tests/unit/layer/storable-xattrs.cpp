// SPDX-License-Identifier: Apache-2.0
#include "layer/storable-xattrs.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

using List = std::vector<std::pair<std::string, std::string>>;

std::string capability(char revision, std::size_t size, char root = 0) {
    std::string value(size, '\0');
    value[3] = revision;
    value.back() = root;
    return value;
}

}  // namespace

TEST_CASE("attributes of namespaces that Linux has stay, all others are dropped and counted", "[storable-xattrs]") {
    List xattrs{{"btrfs.compression", "zstd"},
                {"com.apple.provenance", "x"},
                {"lustre.lov", "x"},
                {"security.", "x"},
                {"security.apparmor", "x"},
                {"system.posix_acl_access", "x"},
                {"trusted.overlay.opaque", "y"},
                {"user.", "x"},
                {"user.a", "x"}};
    CHECK(drop_unstorable(xattrs, false) == 6);
    CHECK(xattrs == List{{"security.apparmor", "x"}, {"trusted.overlay.opaque", "y"}, {"user.a", "x"}});
}

TEST_CASE("an attribute without a value, and one of users on a symbolic link, is dropped", "[storable-xattrs]") {
    List xattrs{{"trusted.overlay.metacopy", ""}, {"trusted.t", "1"}, {"user.a", "x"}};
    CHECK(drop_unstorable(xattrs, true) == 2);
    CHECK(xattrs == List{{"trusted.t", "1"}});
}

TEST_CASE("the label of another policy is dropped without being counted", "[storable-xattrs]") {
    List xattrs{{"security.selinux", "system_u:object_r:bin_t:s0"}};
    CHECK(drop_unstorable(xattrs, false) == 0);
    CHECK(xattrs.empty());
}

TEST_CASE("file capabilities stay in the form that the kernel gives back", "[storable-xattrs]") {
    List xattrs{{"security.capability", capability(2, 20)}};
    CHECK(drop_unstorable(xattrs, false) == 0);
    CHECK(xattrs.front().second == capability(2, 20));
    xattrs = {{"security.capability", capability(3, 24)}};
    CHECK(drop_unstorable(xattrs, false) == 0);
    CHECK(xattrs.front().second == capability(2, 20));
    xattrs = {{"security.capability", capability(3, 24, 1)}};
    CHECK(drop_unstorable(xattrs, false) == 0);
    CHECK(xattrs.front().second == capability(3, 24, 1));
    for (const auto& value : {std::string("\1\2"), capability(2, 24), capability(1, 20)}) {
        xattrs = {{"security.capability", value}};
        CHECK(drop_unstorable(xattrs, false) == 1);
    }
}

TEST_CASE("an object with what no file system gives back is refused by the attribute's name", "[storable-xattrs]") {
    CHECK_NOTHROW(require_storable(make_xattrs({{"security.selinux", "x"}, {"system.posix_acl_access", "x"}})));
    for (const List& xattrs : {List{{"com.apple.quarantine", "x"}}, List{{"user.empty", ""}}})
        CHECK_THROWS_AS(require_storable(make_xattrs(xattrs)), Error);
}

TEST_CASE("an attribute that is larger than Linux takes it is dropped, and of too many those that come last",
          "[storable-xattrs]") {
    const auto name = [](std::size_t size) { return "user." + std::string(size - 5, 'n'); };
    List xattrs{
        {"user.a", std::string(65537, 'v')}, {"user.b", std::string(65536, 'v')}, {name(255), "x"}, {name(256), "x"}};
    CHECK(drop_unstorable(xattrs, false) == 2);
    CHECK((xattrs.size() == 2 && xattrs[0].first == "user.b" && xattrs[1].first == name(255)));

    List large;
    for (const char letter : {'a', 'b', 'c', 'd', 'e', 'f'})
        large.emplace_back(std::string("user.") + letter, std::string(50'000, 'v'));
    CHECK(drop_unstorable(large, false) == 1);
    CHECK(large.back().first == "user.e");
    List many;
    for (int i = 0; i < 10'000; ++i) many.emplace_back("user." + std::to_string(i), "v");
    CHECK(drop_unstorable(many, false) > 0);
    std::size_t names = 0;
    for (const auto& [key, value] : many) names += key.size() + 1;
    CHECK((names <= 65536 && names > 65536 - 16));
}
