// SPDX-License-Identifier: Apache-2.0
#include "store/objects/object-listing.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include "base/directory.hpp"
#include "base/hex-byte.hpp"
#include "base/task-group.hpp"

namespace imaged {

namespace {

constexpr std::size_t prefix_digits = 2, rest_digits = 62;
// More of them wait for each other: for the disk, and in the file system.
constexpr unsigned max_threads = 4;

}  // namespace

std::optional<LooseObject> loose_object(unsigned directory, int descriptor, const char* name) {
    const std::string_view text(name);
    if (text.size() < rest_digits + 2 || text[rest_digits] != '.') return std::nullopt;
    char hex[prefix_digits + rest_digits];
    std::memcpy(hex, hex_byte(directory).data(), prefix_digits);
    std::memcpy(hex + prefix_digits, name, rest_digits);
    const auto checksum = Checksum::from_hex({hex, prefix_digits + rest_digits});
    if (!checksum) return std::nullopt;
    return LooseObject{descriptor, name, *checksum, text.substr(rest_digits + 1)};
}

void visit_objects(int objects, unsigned directory, const std::function<void(const LooseObject&)>& visit) {
    const auto name = hex_byte(directory);
    auto opened = try_open_at(objects, name, O_RDONLY | O_DIRECTORY);
    visit_directory(std::move(opened), "objects/" + name, [&](const DirectoryEntry& entry) {
        auto object = loose_object(directory, entry.directory, entry.name);
        if (!object) return;
        object->is_directory = entry.is_directory;
        visit(*object);
    });
}

void for_each_object_directory(unsigned threads, const std::function<void(unsigned directory)>& work) {
    run_in_threads(threads, object_directories, [&](std::size_t number) { work(static_cast<unsigned>(number)); });
}

unsigned object_threads() {
    return std::clamp(std::thread::hardware_concurrency(), 1U, max_threads);
}

}  // namespace imaged
