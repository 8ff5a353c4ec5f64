// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/local-files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/content-hash.hpp"
#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/task-group.hpp"
#include "chunked/chunk-search.hpp"
#include "layer/dirtree.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/object-layer.hpp"
#include "layer/object-placement.hpp"
#include "layer/path-mapping.hpp"
#include "layer/staged-objects.hpp"
#include "store/objects/object-listing.hpp"

namespace imaged {

namespace {

// Of one directory. A larger one would take the memory of the whole job.
constexpr std::size_t max_dirtree_bytes = max_metadata_bytes;
// Of one layer. A table in the order of the tree needs each directory once. One that alternates between large
// directories would have them read for each file; beyond this, files count as absent.
constexpr std::uint64_t max_listings_bytes = 1024ULL * 1024 * 1024;

// Where a repository of mode bare-user has the owner, group and mode of an object, which may be a symbolic link's.
constexpr const char* user_meta = "user.ostreemeta";
constexpr std::size_t mode_offset = 8;
// XATTR_SIZE_MAX.
constexpr std::size_t max_xattr_bytes = 64 * 1024;

bool is_symlink(int file) {
    std::array<unsigned char, max_xattr_bytes> meta;
    const auto size = ::fgetxattr(file, user_meta, meta.data(), meta.size());
    if (size < static_cast<ssize_t>(mode_offset + 4)) return false;
    const auto* const mode = meta.data() + mode_offset;
    return S_ISLNK(static_cast<mode_t>(mode[0] << 24 | mode[1] << 16 | mode[2] << 8 | mode[3]));
}

}  // namespace

void LocalFiles::find(const TableFile& file, ChunkedPlan& plan) {
    ChunkedPlan::File found{.size = file.size, .offset = file.offset, .end = file.end};
    if (!search_) {
        const bool named = find_object(file.name, found);
        found.is_here = named && try_open(found);
        if (named && !found.is_here && exists(objects_, object_path(found.object, found.type))) doubt(found.object);
        const bool in_parts = !found.is_here && found.type == ObjectType::file && !file.chunks.empty();
        return in_parts ? add_parts({found, file.content, false, file.chunks}, plan) : plan.add(found);
    }
    const auto object = at_path(file.name);
    if (object) found.object = *object;
    asked_.push_back({found, file.content, object.has_value(), file.chunks});
    asked_chunks_ += asked_.back().chunks.size();
    if (asked_.size() == most_asked || asked_chunks_ >= max_file_chunks) look(plan);
}

void LocalFiles::finish(ChunkedPlan& plan) {
    look(plan);
    look_elsewhere(plan);
    std::sort(doubtful_.begin(), doubtful_.end());
}

bool LocalFiles::is_doubtful(const Checksum& object) const {
    return (search_ && search_->has_read(object)) ||
           std::binary_search(doubtful_.begin(), doubtful_.end(), std::hash<Checksum>()(object));
}

void LocalFiles::doubt(const Checksum& object) {
    doubtful_.push_back(std::hash<Checksum>()(object));
}

void LocalFiles::look(ChunkedPlan& plan) {
    look_at_paths(plan);
    looked_at_ = std::exchange(asked_, {});
    // Chunks of two times as many files would take too much memory.
    if (std::exchange(asked_chunks_, 0) >= max_file_chunks / 4) look_elsewhere(plan);
}

void LocalFiles::look_elsewhere(ChunkedPlan& plan) {
    for (const auto& asked : looked_at_)
        if (!asked.found.is_here) search_->expect(asked.found.size);
    for (auto& asked : looked_at_) {
        auto& [found, content, has_path, chunks] = asked;
        if (has_path && !found.is_here) doubt(found.object);
        const auto object = found.is_here ? std::nullopt : search_->find(found.size, content);
        if (object) {
            found.object = *object;
            found.is_here = true;
        }
        if (found.is_here || chunks.empty())
            plan.add(found);
        else
            add_parts(asked, plan);
    }
    looked_at_.clear();
}

void LocalFiles::add_parts(const Asked& asked, ChunkedPlan& plan) {
    const auto& [found, content, has_path, chunks] = asked;
    if (chunks.size() > parts_left_) return plan.add(found);
    const auto earn = [&] {
        const auto packed = std::min(found.end - found.offset, max_layer_bytes);
        may_read_ = std::min(may_read_ + bytes_for_each * static_cast<std::int64_t>(packed), most_bytes);
    };
    ChunkSearch search(chunks, cancellation_);
    std::vector<Checksum> objects;  // that were looked in
    const auto look_in = [&](const Checksum& object) {
        const auto file = may_read_ > 0 ? open_content({.object = object, .is_here = true}) : FileDescriptor();
        struct stat status {};
        if (!file || ::fstat(file.get(), &status) != 0) return false;
        objects.push_back(object);
        const auto size = static_cast<std::uint64_t>(status.st_size);
        const auto before = search.bytes_read();
        const bool any = search.look_in(file.get(), size, has_path || size == found.size);
        may_read_ -= static_cast<std::int64_t>(search.bytes_read() - before);
        return any;
    };
    bool any = false;
    if (has_path) {
        earn();
        any = look_in(found.object);
    } else if (found.size >= least_similar_bytes) {
        for (const auto& object : sizes_().near(found.size, most_similar)) {
            any = look_in(object.checksum);
            if (any) break;
        }
        if (any) earn();
    }
    if (!any) return plan.add(found);
    parts_left_ -= chunks.size();
    std::optional<ChunkedPlan::File> part;  // as many neighbours as are alike
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        const auto& chunk = chunks[i];
        const auto& place = search[i];
        const auto end = i + 1 < chunks.size() ? chunks[i + 1].offset : found.end;
        const auto object = place ? objects[place->file] : found.object;
        if (part && part->is_here == place.has_value() &&
            (!place || (part->object == object && part->from + part->size == place->offset))) {
            part->size += chunk.size;
            part->end = end;
            continue;
        }
        if (part) plan.add(*part);
        part = ChunkedPlan::File{.size = chunk.size,
                                 .offset = chunk.offset,
                                 .end = end,
                                 .object = object,
                                 .is_here = place.has_value(),
                                 .ends = false,
                                 .from = place ? place->offset : 0};
    }
    part->ends = true;
    plan.add(*part);
}

void LocalFiles::look_at_paths(ChunkedPlan& plan) {
    std::vector<Asked*> candidates;
    for (auto& asked : asked_) {
        if (asked.has_path) candidates.push_back(&asked);
    }
    // Two of about the same size are hashed together. The largest first: so all threads end at about the same time.
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Asked* a, const Asked* b) { return a->found.size > b->found.size; });
    const auto look = [&](std::size_t number) {
        if (number == 0) return look_elsewhere(plan);
        --number;
        const std::span these(&candidates[2 * number], std::min<std::size_t>(2, candidates.size() - 2 * number));
        std::array<FileDescriptor, 2> files;
        for (std::size_t i = 0; i < these.size(); ++i) files[i] = try_open(these[i]->found);
        if (files[0] && files[1]) {
            const auto contents = contents_of({files[0].get(), files[1].get()}, cancellation_);
            for (std::size_t i = 0; i < these.size(); ++i) these[i]->found.is_here = contents[i] == these[i]->content;
            return;
        }
        for (std::size_t i = 0; i < these.size(); ++i)
            these[i]->found.is_here = files[i] && content_of(files[i].get(), cancellation_) == these[i]->content;
    };
    run_in_threads(threads, 1 + (candidates.size() + 1) / 2, look);
}

void LocalFiles::look_for_files(std::function<const ObjectSizes&()> sizes, bool is_derived) {
    sizes_ = std::move(sizes);
    if (!is_derived) return;
    search_.emplace(sizes_, [this](const ObjectSizes::Object& object) -> std::optional<Checksum> {
        const auto file = try_open({.size = object.size, .object = object.checksum, .is_here = true});
        return file ? std::optional(content_of(file.get(), cancellation_)) : std::nullopt;
    });
}

bool LocalFiles::has_any(int objects) {
    bool found = false;
    for (unsigned directory = 0; directory < object_directories && !found; ++directory)
        visit_objects(objects, directory, [&](const LooseObject& object) { found |= object.type.starts_with("file"); });
    return found;
}

bool LocalFiles::find_object(const std::string& name, ChunkedPlan::File& found) const {
    if (name.size() > max_path_bytes) return false;
    const auto object = object_in_layer(split_path(name));
    if (!object) return false;
    found.object = object->checksum;
    for (const auto type : {ObjectType::file, ObjectType::dirtree, ObjectType::dirmeta, ObjectType::commit}) {
        found.type = type;
        if (object->type == suffix(type)) return true;
    }
    return false;
}

FileDescriptor LocalFiles::open(const ChunkedPlan::File& file) const {
    auto content = open_content(file);
    if (!content)
        throw Error(ErrorKind::corrupt_input, "the object " + object_name(file.object, file.type) + " is gone");
    return content;
}

FileDescriptor LocalFiles::open_named(const std::string& name) {
    const auto refuse = [&](const char* why) {
        throw Error(ErrorKind::corrupt_input, "the delta names the file \"" + name + "\", which " + why);
    };
    const auto path = split_path(name);
    if (name.starts_with('/') || std::find(path.begin(), path.end(), "..") != path.end())
        refuse("is no path in an image");
    ChunkedPlan::File found{};
    if (!find_object(name, found)) {
        const auto object = at_path(name);
        if (!object) refuse("the stored image does not have");
        found.object = *object;
        found.type = ObjectType::file;
    }
    FileDescriptor file(::openat(objects_, object_path(found.object, found.type).c_str(),
                                 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || is_symlink(file.get()))
        refuse("is no regular file");
    return file;
}

FileDescriptor LocalFiles::try_open(const ChunkedPlan::File& wanted) const {
    auto file = open_content(wanted);
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || static_cast<std::uint64_t>(status.st_size) != wanted.size)
        return {};
    return file;
}

FileDescriptor LocalFiles::open_content(const ChunkedPlan::File& wanted) const {
    FileDescriptor file(::openat(objects_, object_path(wanted.object, wanted.type).c_str(),
                                 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
    return file;
}

std::optional<Checksum> LocalFiles::at_path(const std::string& name) {
    if (!tree_ || name.size() > max_path_bytes) return std::nullopt;
    auto path = split_path(name);
    if (path.empty() || path.size() > max_path_depth) return std::nullopt;
    path = merged_path(std::move(path), moved_var_);
    const auto* const dirtree = directory(path, path.size() - 1);
    return dirtree != nullptr ? DirtreeView(*dirtree).file(path.back()) : std::nullopt;
}

std::optional<std::string> LocalFiles::read_directory(const Checksum& tree) {
    const auto file = try_open_file(objects_, object_path(tree, ObjectType::dirtree));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) return std::nullopt;
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size > max_dirtree_bytes || size > max_listings_bytes - directories_bytes_) return std::nullopt;
    directories_bytes_ += size;
    return read_all(file.get(), max_dirtree_bytes, "a directory");
}

// The dirtree that the first DEPTH names of PATH lead to; null if there is none.
const std::string* LocalFiles::directory(const Path& path, std::size_t depth) {
    if (way_.empty()) way_.push_back({"", read_directory(*tree_)});
    std::size_t known = 0;
    while (known < depth && known + 1 < way_.size() && way_[known + 1].name == path[known]) ++known;
    way_.resize(known + 1);
    for (; known < depth; ++known) {
        std::optional<std::string> below;
        if (const auto& dirtree = way_.back().dirtree) {
            if (const auto tree = DirtreeView(*dirtree).directory(path[known])) below = read_directory(*tree);
        }
        way_.push_back({path[known], std::move(below)});
    }
    const auto& dirtree = way_.back().dirtree;
    return dirtree ? &*dirtree : nullptr;
}

}  // namespace imaged
