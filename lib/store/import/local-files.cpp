// SPDX-License-Identifier: Apache-2.0
#include "store/import/local-files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.hpp"
#include "layer/path-mapping.hpp"
#include "layer/staged-objects.hpp"

namespace imaged {

namespace {

constexpr std::size_t buffer_bytes = 256 * 1024;
constexpr std::size_t max_dirtree_bytes = 128 * 1024 * 1024;

Checksum content_of(int file) {
    std::vector<std::byte> buffer(buffer_bytes);
    Sha256 hash;
    for (off_t offset = 0;;) {
        const auto count = ::pread(file, buffer.data(), buffer.size(), offset);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read an object");
        if (count == 0) return hash.finish();
        hash.update(std::span(buffer).first(static_cast<std::size_t>(count)));
        offset += count;
    }
}

}  // namespace

ChunkedPlan::File LocalFiles::find(const TableFile& file) {
    ChunkedPlan::File found{file.size, file.offset, file.end, {}, false};
    const auto object = at_path(file.name);
    const auto content = object ? try_open(*object, file.size) : FileDescriptor();
    if (!content || content_of(content.get()) != file.content) return found;
    found.object = *object;
    found.is_here = true;
    return found;
}

FileDescriptor LocalFiles::open(const ChunkedPlan::File& file) const {
    auto content = try_open(file.object, file.size);
    if (!content)
        throw Error(ErrorKind::corrupt_input, "the object " + object_name(file.object, ObjectType::file) + " is gone");
    return content;
}

FileDescriptor LocalFiles::try_open(const Checksum& object, std::uint64_t size) const {
    FileDescriptor file(::openat(objects_, object_path(object, ObjectType::file).c_str(),
                                 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        static_cast<std::uint64_t>(status.st_size) != size)
        return {};
    return file;
}

std::optional<Checksum> LocalFiles::at_path(const std::string& name) {
    auto path = split_path(name);
    if (path.empty() || path.size() > max_path_depth) return std::nullopt;
    // A merged tree has one directory for what was moved to a place and what the image has there itself.
    const PathMapping mapping{moved_var_};
    for (const auto& move : mapping.moves()) {
        if (path.front() == move.name) path.insert(path.begin(), move.parent.begin(), move.parent.end());
    }
    const auto* const listing = directory(path, path.size() - 1);
    if (listing == nullptr) return std::nullopt;
    const auto found = std::lower_bound(listing->files.begin(), listing->files.end(), path.back(),
                                        [](const auto& entry, const auto& wanted) { return entry.name < wanted; });
    if (found == listing->files.end() || found->name != path.back()) return std::nullopt;
    return found->object;
}

// The directory that the first DEPTH names of PATH lead to; null where there is none.
const DirectoryListing* LocalFiles::directory(const Path& path, std::size_t depth) {
    const auto read = [&](const Checksum& tree) -> std::optional<DirectoryListing> {
        const auto file = try_open_file(objects_, object_path(tree, ObjectType::dirtree));
        if (!file) return std::nullopt;
        return parse_dirtree(read_all(file.get(), max_dirtree_bytes, "a directory"));
    };
    if (way_.empty()) way_.push_back({"", read(tree_)});
    std::size_t known = 0;
    while (known < depth && known + 1 < way_.size() && way_[known + 1].name == path[known]) ++known;
    way_.resize(known + 1);
    for (; known < depth; ++known) {
        std::optional<DirectoryListing> below;
        if (const auto& listing = way_.back().listing) {
            for (const auto& entry : listing->directories) {
                if (entry.name == path[known]) below = read(entry.tree);
            }
        }
        way_.push_back({path[known], std::move(below)});
    }
    const auto& listing = way_.back().listing;
    return listing ? &*listing : nullptr;
}

}  // namespace imaged
