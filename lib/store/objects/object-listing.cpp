// SPDX-License-Identifier: Apache-2.0
#include "store/objects/object-listing.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "base/directory.hpp"
#include "base/task-group.hpp"

namespace imaged {

namespace {

constexpr std::size_t prefix_digits = 2, rest_digits = 62;
// More of them wait for each other: for the disk, and in the file system.
constexpr unsigned max_threads = 4;

}  // namespace

void visit_objects(int objects, unsigned directory, const std::function<void(const LooseObject&)>& visit) {
    char hex[prefix_digits + rest_digits + 1];
    std::snprintf(hex, sizeof hex, "%02x", directory);
    auto opened = try_open_at(objects, hex, O_RDONLY | O_DIRECTORY);
    visit_directory(std::move(opened), "objects/" + std::string(hex), [&](const DirectoryEntry& entry) {
        const std::string_view name(entry.name);
        if (name.size() < rest_digits + 2 || name[rest_digits] != '.') return;
        std::memcpy(hex + prefix_digits, name.data(), rest_digits);
        if (const auto checksum = Checksum::from_hex({hex, prefix_digits + rest_digits}))
            visit({entry.directory, entry.name, *checksum, name.substr(rest_digits + 1), entry.is_directory});
    });
}

void for_each_object_directory(unsigned threads, const std::function<void(unsigned directory)>& work) {
    run_in_threads(threads, object_directories, [&](std::size_t number) { work(static_cast<unsigned>(number)); });
}

unsigned object_threads() {
    return std::clamp(std::thread::hardware_concurrency(), 1U, max_threads);
}

}  // namespace imaged
