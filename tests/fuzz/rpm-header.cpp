// SPDX-License-Identifier: Apache-2.0
// A package as the RPM database keeps it.
#include "packages/rpm-header.hpp"
#include "input.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::accepted([&] {
        PackageSet set;
        set.add(parse_rpm_header({reinterpret_cast<const std::byte*>(data), size}));
        fuzz::require(set.size() == 1, "a package is kept");
    });
    return 0;
}
