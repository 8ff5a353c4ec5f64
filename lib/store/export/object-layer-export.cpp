// SPDX-License-Identifier: Apache-2.0
#include "store/export/object-layer-export.hpp"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/error.hpp"
#include "base/hex-byte.hpp"
#include "base/tree-path.hpp"
#include "store/export/object-tar.hpp"
#include "store/objects/tree-walk.hpp"
#include "store/repository/detached-metadata.hpp"

namespace imaged {

namespace {

const std::string repository_path = "sysroot/ostree/repo";
constexpr std::array<const char*, 8> repository_directories{"extensions",   "refs",  "refs/heads", "refs/mirrors",
                                                            "refs/remotes", "state", "tmp",        "tmp/cache"};
constexpr std::string_view repository_config = "[core]\nrepo_version=1\nmode=bare-split-xattrs\n";

std::string tar_path(const Checksum& checksum, std::string_view type) {
    return repository_path + "/objects/" + object_path(checksum.hex() + "." + std::string(type));
}

std::string serialised(const Xattrs& xattrs) {
    return xattrs ? bytes_of(xattrs.get()) : std::string();
}

// usr/etc is etc for who looks at the tree.
std::string shown_path(const std::string& path) {
    constexpr std::string_view etc = "usr/etc";
    if (path.starts_with(etc) && (path.size() == etc.size() || path[etc.size()] == '/')) return path.substr(4);
    return path;
}

}  // namespace

// One layer on its way.
class ObjectLayerExport::Layer {
public:
    Layer(const ObjectLayerExport& from, ByteSink& sink, const TarEntryHook& entry)
        : from_(from), tar_(sink, TarStyle::gnu, entry) {}

    void repository_structure() {
        std::string path;
        for (const auto* part : {"sysroot", "/ostree", "/repo", "/objects"}) directory(path += part, 0755);
        for (unsigned byte = 0; byte < 256; ++byte) directory(path + "/" + hex_byte(byte), 0755);
        for (const auto* name : repository_directories) directory(repository_path + "/" + name, 0755);
        data(repository_path + "/config", repository_config);
    }

    void file(const Checksum& checksum) {
        FileObject object(from_.repository_, checksum);
        const auto xattrs = serialised(object.meta().xattrs);
        const auto xattrs_checksum = sha256(xattrs);
        const auto xattrs_path = tar_path(xattrs_checksum, "file-xattrs");
        if (xattrs_.insert(xattrs_checksum).second) data(xattrs_path, xattrs);
        TarItem link{TarItem::Type::hardlink, tar_path(checksum, "file-xattrs-link"), xattrs_path};
        link.mode = 0644;
        tar_.add(link);
        TarItem item;
        item.path = tar_path(checksum, "file");
        add_object(tar_, item, object, checksum, from_.cancellation_);

        const auto less = [](const auto& a, const auto& b) { return a.object < b.object; };
        const auto [begin, end] = std::equal_range(from_.files_.begin(), from_.files_.end(), File{checksum}, less);
        for (auto place = begin; place != end; ++place) {
            const auto& parent = from_.directories_[place->directory];
            const auto name = std::string_view(from_.names_).substr(place->name_offset, place->name_size);
            TarItem entry;
            entry.earlier_path = item.path;
            entry.path = shown_path((parent.empty() ? "" : parent + "/") + std::string(name));
            take_owner(entry, object.meta());
            // An empty file is no link: who writes to one in a container would write to all.
            if (object.is_symlink() || object.size() > 0) {
                entry.type = TarItem::Type::hardlink;
                entry.target = item.path;
            }
            tar_.add(entry);
        }
    }

    void commit() {
        const auto commit = from_.repository_.load_commit(from_.base_);
        directory("./", parse_dirmeta(from_.repository_.require_metadata(ObjectType::dirmeta, commit.meta)));
        repository_structure();
        data(tar_path(from_.base_, "commit"), from_.repository_.require_metadata(ObjectType::commit, from_.base_));
        const auto detached = without_mark(from_.repository_.detached_metadata(from_.base_).value_or(std::string()));
        if (!detached.empty()) data(tar_path(from_.base_, "commitmeta"), detached);
        const TreeReader read = [&](const Checksum& tree) { return metadata(ObjectType::dirtree, tree); };
        walk_tree(read, commit.tree, commit.meta, {.enter = [&](const TreePlace& place) { return directory(place); }});
        const auto objects_only = [&](const TreePlace& place) {
            metadata(ObjectType::dirmeta, place.meta);
            return true;
        };
        for (const auto& [tree, meta] : hidden_) walk_tree(read, tree, meta, {.enter = objects_only});
        if (!has_var_tmp_) directory("var/tmp", 01777);
    }

    void finish() { tar_.finish(); }

private:
    void directory(const std::string& path, std::uint32_t mode) { directory(path, FileMeta{0, 0, mode, nullptr}); }
    void directory(const std::string& path, const FileMeta& meta) {
        TarItem item{TarItem::Type::directory, path};
        take_owner(item, meta);
        tar_.add(item);
    }
    void data(const std::string& path, std::string_view bytes) {
        TarItem item;
        item.path = path;
        item.mode = 0644;
        tar_.add(item, bytes);
    }
    // The bytes of the object, which is in the tar then.
    std::string metadata(ObjectType type, const Checksum& checksum) {
        from_.cancellation_.check();
        auto bytes = from_.repository_.require_metadata(type, checksum);
        if (metadata_.insert(checksum).second) data(tar_path(checksum, suffix(type)), bytes);
        return bytes;
    }

    // Whether what is in it follows.
    bool directory(const TreePlace& place) {
        const auto meta = parse_dirmeta(metadata(ObjectType::dirmeta, place.meta));
        // The objects' own directory is in the tar already.
        if (place.path == "sysroot") {
            hidden_.emplace_back(place.tree, place.meta);
            return false;
        }
        has_var_tmp_ = has_var_tmp_ || place.path == "var/tmp";
        // The slash is ostree-ext's: the bytes are to be the same.
        if (place.depth > 0) directory(place.path == "usr/etc" ? "etc/" : shown_path(place.path), meta);
        return true;
    }

    const ObjectLayerExport& from_;
    TarWriter tar_;
    std::unordered_set<Checksum> xattrs_, metadata_;
    std::vector<std::pair<Checksum, Checksum>> hidden_;  // trees and their metas
    bool has_var_tmp_ = false;
};

ObjectLayerExport::ObjectLayerExport(const Repository& repository, const Cancellation& cancellation,
                                     const Checksum& base, const std::vector<Checksum>& chunks)
    : repository_(repository), cancellation_(cancellation), base_(base) {
    index();
    std::stable_sort(files_.begin(), files_.end(), [](const auto& a, const auto& b) { return a.object < b.object; });
    for (const auto& chunk : chunks) {
        const auto files = files_of(chunk);
        chunk_files_.insert(chunk_files_.end(), files.begin(), files.end());
    }
    std::sort(chunk_files_.begin(), chunk_files_.end());
}

void ObjectLayerExport::index() {
    const auto check_depth = [](const TreePlace& place) {
        if (place.depth > max_path_depth)
            throw Error(ErrorKind::unsupported_image,
                        "a tree that is deeper than " + std::to_string(max_path_depth) + " levels");
        return true;
    };
    const auto add = [&](const TreePlace& place, const DirectoryListing& listing) {
        const auto directory = static_cast<std::uint32_t>(directories_.size());
        directories_.push_back(place.path);
        for (const auto& file : listing.files) {
            files_.push_back({file.object, directory, static_cast<std::uint32_t>(names_.size()),
                              static_cast<std::uint32_t>(file.name.size())});
            names_ += file.name;
        }
    };
    walk_tree(repository_, repository_.load_commit(base_), cancellation_, {.enter = check_depth, .list = add});
}

std::vector<Checksum> ObjectLayerExport::files_of(const Checksum& chunk) const {
    std::vector<Checksum> files;
    for (const auto& file : read_directory(repository_, repository_.load_commit(chunk).tree).files)
        files.push_back(file.object);
    return files;
}

void ObjectLayerExport::write_chunk(const Checksum& chunk, ByteSink& sink, const TarEntryHook& entry) const {
    Layer layer(*this, sink, entry);
    layer.repository_structure();
    for (const auto& file : files_of(chunk)) layer.file(file);
    layer.finish();
}

void ObjectLayerExport::write_commit(ByteSink& sink, const TarEntryHook& entry) const {
    Layer layer(*this, sink, entry);
    layer.commit();
    const Checksum* last = nullptr;
    for (const auto& file : files_) {
        if (last != nullptr && *last == file.object) continue;
        last = &file.object;
        if (!std::binary_search(chunk_files_.begin(), chunk_files_.end(), file.object)) layer.file(file.object);
    }
    layer.finish();
}

}  // namespace imaged
