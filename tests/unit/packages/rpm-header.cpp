// SPDX-License-Identifier: Apache-2.0
#include "rpm-header-builder.hpp"

#include <span>

#include "../catch.hpp"
#include "base/error.hpp"
#include "packages/rpm-header.hpp"

using namespace imaged;

namespace {

std::string parsed(const std::string& header) {
    const auto package = parse_rpm_header(std::as_bytes(std::span(header)));
    return package.name + "." + package.architecture + "=" + package.version;
}

}  // namespace

TEST_CASE("a header says name, epoch, version, release and architecture") {
    CHECK(parsed(rpm_header("bash").text(1022, "x86_64").str()) == "bash.x86_64=1.0-1");
    CHECK(parsed(rpm_header("perl", "5.36", "2.fc40").number(1003, 4).text(1022, "noarch").str()) ==
          "perl.noarch=4:5.36-2.fc40");
    // Keys have no architecture.
    CHECK(parsed(rpm_header("gpg-pubkey").str()) == "gpg-pubkey.=1.0-1");
}

TEST_CASE("a header that is cut anywhere, or leads outside of itself, is refused") {
    const auto whole = rpm_header("bash").number(1003, 1).str();
    for (std::size_t size = 0; size < whole.size(); ++size) CHECK_THROWS_AS(parsed(whole.substr(0, size)), Error);
    auto changed = [&](std::size_t offset, std::uint32_t value) {
        return std::string(whole).replace(offset, 4, RpmHeaderBuilder::big_endian(value));
    };
    CHECK_THROWS_WITH(parsed(changed(0, 0xffffffff)), containing("is cut"));
    CHECK_THROWS_WITH(parsed(changed(4, 0xffffffff)), containing("is cut"));
    CHECK_THROWS_WITH(parsed(changed(16, 0xffffffff)), containing("outside"));
    CHECK_THROWS_WITH(parsed(changed(12, 4)), containing("another type"));
    CHECK_THROWS_WITH(parsed(changed(8, 5000)), containing("no name"));
    CHECK_THROWS_WITH(parsed(RpmHeaderBuilder().text(1000, "bash").str()), containing("no name, version"));
    auto endless = whole;
    for (auto& byte : endless)
        if (byte == '\0' && &byte > &endless[8 + 16 * 4]) byte = 'x';
    CHECK_THROWS_AS(parsed(endless), Error);
}
