// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/content-search.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <tuple>

#include "store/objects/object-listing.hpp"

namespace imaged {

namespace {

// Sizes that differ by less than one part of so many are about the same.
constexpr std::uint64_t near_part = 4;

}  // namespace

ObjectSizes::ObjectSizes(int objects, const Cancellation& cancellation) {
    std::mutex mutex;
    for_each_object_directory(object_threads(), [&](unsigned directory) {
        cancellation.check();
        std::vector<Object> found;
        visit_objects(objects, directory, [&](const LooseObject& object) {
            struct stat status {};
            if (object.type != "file" || ::fstatat(object.directory, object.name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
                !S_ISREG(status.st_mode))
                return;
            const auto size = static_cast<std::uint64_t>(status.st_size);
            if (size >= least_bytes) found.push_back({size, object.checksum});
        });
        const std::lock_guard lock(mutex);
        objects_.insert(objects_.end(), found.begin(), found.end());
    });
    std::sort(objects_.begin(), objects_.end(), [](const Object& a, const Object& b) {
        return std::tie(a.size, a.checksum) < std::tie(b.size, b.checksum);
    });
}

std::span<const ObjectSizes::Object> ObjectSizes::of_size(std::uint64_t size) const {
    const auto less = [](const Object& a, const Object& b) { return a.size < b.size; };
    const auto [begin, end] = std::equal_range(objects_.begin(), objects_.end(), Object{size, {}}, less);
    return {begin, end};
}

std::vector<ObjectSizes::Object> ObjectSizes::near(std::uint64_t size, std::size_t count) const {
    auto above = std::lower_bound(objects_.begin(), objects_.end(), size,
                                  [](const Object& object, std::uint64_t bytes) { return object.size < bytes; });
    auto below = above;
    std::vector<Object> found;
    while (found.size() < count) {
        const auto up = above != objects_.end() ? above->size - size : UINT64_MAX;
        const auto down = below != objects_.begin() ? size - std::prev(below)->size : UINT64_MAX;
        if (std::min(up, down) > size / near_part) break;
        found.push_back(up <= down ? *above++ : *--below);
    }
    return found;
}

std::optional<Checksum> ContentSearch::find(std::uint64_t size, const Checksum& content) {
    if (size < ObjectSizes::least_bytes) return std::nullopt;
    for (const auto& object : sizes_().of_size(size)) {
        auto known = contents_.find(object.checksum);
        if (known == contents_.end()) {
            if (size + open_bytes > may_read_) continue;
            may_read_ -= size + open_bytes;
            known = contents_.emplace(object.checksum, content_of_(object)).first;
        }
        if (known->second == content) return object.checksum;
    }
    return std::nullopt;
}

}  // namespace imaged
