// SPDX-License-Identifier: Apache-2.0
// rpm's database as a file: SQLite's reading of it, and that it stays inside the file.
#include <cstring>

#include "input.hpp"
#include "packages/rpm-database.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const RandomFile file{size, [&](std::uint64_t offset, std::span<std::byte> buffer) {
                              fuzz::require(offset <= size && buffer.size() <= size - offset, "reads stay in the file");
                              std::memcpy(buffer.data(), data + offset, buffer.size());
                          }};
    fuzz::accepted([&] {
        PackageSet set;
        read_rpm_database(
            file, [] {}, set);
    });
    return 0;
}
