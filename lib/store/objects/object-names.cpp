// SPDX-License-Identifier: Apache-2.0
#include "store/objects/object-names.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/directory.hpp"
#include "layer/object-placement.hpp"

namespace imaged {

namespace {

constexpr std::uint64_t min_questions = 4;
// The number of names is estimated from a directory's size: a name takes 70 bytes or more. Listing six names takes as
// long as one question.
constexpr std::uint64_t bytes_a_question = 512;

std::uint64_t key_of(const Checksum& checksum) {
    std::uint64_t key;
    std::memcpy(&key, checksum.bytes.data() + 1, sizeof key);
    return key;
}

}  // namespace

bool ObjectNames::has_file(const Checksum& checksum) {
    auto& bucket = buckets_[checksum.bytes[0]];
    if (!bucket.listed) {
        const auto path = object_path(checksum.hex() + suffix_), directory = path.substr(0, 2);
        if (!bucket.questions_before_listing) bucket.questions_before_listing = questions_before_listing(directory);
        if (++bucket.questions <= *bucket.questions_before_listing) return has_object_at(objects_, path);
        list(bucket, directory);
    }
    return std::binary_search(bucket.names.begin(), bucket.names.end(), key_of(checksum));
}

std::uint64_t ObjectNames::questions_before_listing(const std::string& directory) const {
    struct stat status {};
    if (::fstatat(objects_, directory.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return 0;
    return std::max(min_questions, static_cast<std::uint64_t>(status.st_size) / bytes_a_question);
}

void ObjectNames::list(Bucket& bucket, const std::string& directory) const {
    bucket.listed = true;
    auto opened = try_open_at(objects_, directory, O_RDONLY | O_DIRECTORY);
    visit_directory(std::move(opened), "objects/" + directory, [&](const DirectoryEntry& entry) {
        const std::string_view name(entry.name);
        if (entry.is_directory) return;
        if (name.size() != 62 + suffix_.size() || !name.ends_with(suffix_)) return;
        if (const auto checksum = Checksum::from_hex(directory + std::string(name.substr(0, 62))))
            bucket.names.push_back(key_of(*checksum));
    });
    std::sort(bucket.names.begin(), bucket.names.end());
}

}  // namespace imaged
