// SPDX-License-Identifier: Apache-2.0
// dpkg's database: the same packages whatever parts it is read in.
#include "packages/dpkg-status.hpp"
#include "input.hpp"

using namespace imaged;

namespace {

PackageSet packages_of(std::span<const std::uint8_t> input, bool without_status, std::size_t part) {
    PackageSet set;
    const ReadBytes read = [&](std::span<std::byte> buffer) {
        const auto size = std::min({buffer.size(), part, input.size()});
        std::copy_n(reinterpret_cast<const std::byte*>(input.data()), size, buffer.begin());
        input = input.subspan(size);
        return size;
    };
    read_dpkg_status(read, without_status, set);
    return set;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (const bool without_status : {false, true}) {
        PackageSet whole, parts;
        const bool taken = fuzz::accepted([&] { whole = packages_of({data, size}, without_status, size + 1); });
        const bool again = fuzz::accepted([&] { parts = packages_of({data, size}, without_status, 3); });
        fuzz::require(taken == again && whole.packages() == parts.packages(), "parts make no difference");
        const auto changes = compare_packages(whole, parts);
        fuzz::require(changes.changed.empty() && changes.added.empty() && changes.removed.empty(),
                      "equal sets are equal");
        const auto all = compare_packages({}, whole);
        fuzz::require(all.added.size() == whole.size(), "all packages are new to a tree without any");
    }
    return 0;
}
