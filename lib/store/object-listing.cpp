// SPDX-License-Identifier: Apache-2.0
#include "store/object-listing.hpp"

#include <dirent.h>
#include <fcntl.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

constexpr std::size_t prefix_digits = 2, rest_digits = 62;

}  // namespace

void visit_objects(int objects, unsigned directory, const std::function<void(const LooseObject&)>& visit) {
    char hex[prefix_digits + rest_digits + 1];
    std::snprintf(hex, sizeof hex, "%02x", directory);
    auto fd = try_open_at(objects, hex, O_RDONLY | O_DIRECTORY);
    if (!fd) return;
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
    if (!stream) throw_errno("list objects/" + std::string(hex, prefix_digits));
    const int raw = fd.release();
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string_view name(entry->d_name);
        if (name.size() < rest_digits + 2 || name[rest_digits] != '.') continue;
        std::memcpy(hex + prefix_digits, name.data(), rest_digits);
        if (const auto checksum = Checksum::from_hex({hex, prefix_digits + rest_digits}))
            visit({raw, entry->d_name, *checksum, name.substr(rest_digits + 1)});
    }
}

void visit_objects(int objects, const std::function<void(const LooseObject&)>& visit) {
    for (unsigned directory = 0; directory < object_directories; ++directory) visit_objects(objects, directory, visit);
}

}  // namespace imaged
