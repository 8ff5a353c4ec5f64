// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/update-tree.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "chunked/chunked-parts.hpp"
#include "chunked/table.hpp"
#include "chunked/unpacked-part.hpp"
#include "layer/object-layer.hpp"
#include "layer/object-placement.hpp"
#include "layer/path-mapping.hpp"
#include "store/fetch/blob-parts.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

namespace {

// Of all tables together. Those of 100,000 files have some 5 MiB, which unpack to 30 MiB, and what is kept of an entry
// takes some 200 bytes.
constexpr std::size_t max_entries = 200'000;
// Of the names and link targets of these.
constexpr std::size_t max_name_bytes = 24 * 1024 * 1024;
constexpr std::uint64_t max_table_bytes = 32 * 1024 * 1024, max_unpacked_bytes = 512 * 1024 * 1024;
// Of the directories of one layer that are looked into. Those on the way to a database have some 100 KiB.
constexpr std::uint64_t max_directory_bytes = 8 * 1024 * 1024;

struct LayerEntry {
    enum class Kind { directory, file, link } kind = Kind::file;
    std::string target = {};                      // of a symbolic link
    std::optional<Checksum> object = {};          // of a file that is here
    const Descriptor* blob = nullptr;             // that has one that is not here, and
    std::uint64_t size = 0, offset = 0, end = 0;  // bytes, and where its frames are in it
    std::optional<Checksum> content = {};         // its SHA-256; nullopt if it is empty
};

// One layer, by the image's own paths. Whiteouts are entries as others are.
class Layer {
public:
    virtual ~Layer() = default;
    // What the layer itself has at PATH; no links are followed.
    virtual std::optional<LayerEntry> at(const Path& path) const = 0;
    // The names in the directory PATH.
    virtual std::set<std::string> names(const Path& path) const = 0;
    virtual std::unique_ptr<SeekableContent> open(const LayerEntry& file) const = 0;
};

// Of bytes in memory.
class MemorySource : public ByteSource {
public:
    explicit MemorySource(std::span<const std::byte> bytes) : bytes_(bytes) {}
    std::size_t read(std::span<std::byte> buffer) override {
        const auto count = std::min(buffer.size(), bytes_.size());
        std::copy_n(bytes_.begin(), count, buffer.begin());
        bytes_ = bytes_.subspan(count);
        return count;
    }

private:
    std::span<const std::byte> bytes_;
};

// What the tables of an image have taken.
struct TableUse {
    std::size_t entries = 0, name_bytes = 0;
    std::uint64_t bytes = 0, unpacked = 0;

    void add(const PackedPart& table) {
        bytes += table.bytes;
        unpacked += table.unpacked;
        if (bytes > max_table_bytes || unpacked > max_unpacked_bytes)
            throw Error(ErrorKind::unsupported_image, "its tables of contents are too large");
    }
    void add_entry(const std::string& name, const std::string& target) {
        if (++entries > max_entries)
            throw Error(ErrorKind::unsupported_image, "more than " + std::to_string(max_entries) + " files");
        name_bytes += name.size() + target.size();
        if (name_bytes > max_name_bytes)
            throw Error(ErrorKind::unsupported_image, "the names of its files are too long");
    }
};

// Throws Error(unsupported_image) if there is none that can be read.
ChunkedParts require_table(LayerSource& source, const Descriptor& blob) {
    const auto parts = chunked_parts(blob);
    if (!parts || !source.gives_parts())
        throw Error(ErrorKind::unsupported_image,
                    "layer " + blob.digest.text() + " is not here, and has no table of contents that can be read");
    return *parts;
}

// Reads the table of contents of BLOB. USE: of all layers so far.
void read_layer_table(LayerSource& source, const Descriptor& blob, TableUse& use,
                      const std::function<void(std::string&, LayerEntry)>& take,
                      const std::function<void(TableEntry&)>& take_hardlink) {
    const auto parts = require_table(source, blob);
    const auto read = [&] {
        use.add(parts.table);
        std::vector<std::byte> packed(static_cast<std::size_t>(parts.table.bytes));
        BlobParts bytes(source, blob, {{parts.table.offset, parts.table.bytes}}, [](std::size_t) {});
        if (bytes.read(packed) < packed.size()) throw Error(ErrorKind::source_unreachable, "it ends early");
        if (sha256(packed) != parts.table_digest.checksum())
            throw Error(ErrorKind::digest_mismatch, "it does not have the digest that the manifest says");
        MemorySource memory(packed);
        UnpackedPart text(memory, parts.table.unpacked, "a part of the layer");
        read_table(
            text,
            [&](TableFile& file) {
                source.cancellation().check();
                if (file.end > parts.table.offset)
                    throw Error(ErrorKind::corrupt_input,
                                "the table of contents places a file after itself in the blob");
                take(file.name, {.blob = &blob,
                                 .size = file.size,
                                 .offset = file.offset,
                                 .end = file.end,
                                 .content = file.content});
            },
            [&](TableEntry& other) {
                source.cancellation().check();
                if (other.kind == "hardlink") return take_hardlink(other);
                LayerEntry entry{.blob = &blob};
                if (other.kind == "dir") entry.kind = LayerEntry::Kind::directory;
                if (other.kind == "symlink") entry = {LayerEntry::Kind::link, std::move(other.target)};
                take(other.name, std::move(entry));
            });
    };
    in_context("the table of contents of layer " + blob.digest.text(), read);
}

// Calls TAKE with all of a file that a table lists, and verifies its digest.
void fetch_file(LayerSource& source, const LayerEntry& file,
                const std::function<void(std::span<const std::byte>)>& take) {
    if (file.size == 0) return;
    BlobParts packed(source, *file.blob, {{file.offset, file.end - file.offset}}, [](std::size_t) {});
    UnpackedPart text(packed, file.size, "a part of the layer");
    Sha256 hash;
    std::vector<std::byte> buffer(std::size_t{64} * 1024);
    std::uint64_t size = 0;
    while (const auto count = text.read(buffer)) {
        const auto piece = std::span(buffer).first(count);
        hash.update(piece);
        take(piece);
        size += count;
    }
    if (size != file.size || hash.finish() != file.content)
        throw Error(ErrorKind::digest_mismatch, "a file does not have the digest that the table of contents says");
}

std::unique_ptr<SeekableContent> fetched_content(LayerSource& source, const LayerEntry& file) {
    auto copy = memory_file("package-database");
    fetch_file(source, file, [&](auto piece) { write_all(copy.get(), piece, "a copy of a package database"); });
    return std::make_unique<SeekableContent>(std::move(copy), file.size);
}

// The objects that a commit consists of: in the repository, or in layers of objects that only the source has. Tables of
// these are read when an object is looked for that no earlier one has.
class Objects {
public:
    Objects(const Repository& repository, LayerSource& source, TableUse& use)
        : repository_(repository), source_(source), use_(use) {}

    // Borrowed.
    void add_layer(const Descriptor& blob) { unread_.push_back(&blob); }

    // The commit in the layers that were added; there is one.
    Repository::Commit commit() {
        while (commits_.empty()) read_next("its commit is in no table of contents");
        if (commits_.size() > 1) throw Error(ErrorKind::corrupt_input, "several commits");
        const auto& checksum = *commits_.begin();
        return Repository::parse_commit(metadata(ObjectType::commit, checksum), checksum);
    }
    const Directory& directory(const Checksum& checksum) {
        if (const auto known = directories_.find(checksum); known != directories_.end()) return known->second;
        return directories_.emplace(checksum, parse_directory(metadata(ObjectType::dirtree, checksum))).first->second;
    }
    LayerEntry file(const Checksum& checksum) {
        if (!repository_.has_object(ObjectType::file, checksum)) return find(ObjectType::file, checksum);
        const FileObject object(repository_, checksum);
        if (object.is_symlink()) return {LayerEntry::Kind::link, object.target()};
        return {.object = checksum, .size = object.size()};
    }
    std::unique_ptr<SeekableContent> open(const LayerEntry& file) const {
        if (file.object) return std::make_unique<SeekableContent>(FileObject(repository_, *file.object));
        return fetched_content(source_, file);
    }

private:
    std::string metadata(ObjectType type, const Checksum& checksum) {
        std::string bytes;
        if (repository_.has_object(type, checksum)) {
            bytes = repository_.require_metadata(type, checksum);
        } else {
            const auto& entry = find(type, checksum);
            if (entry.size > max_metadata_bytes)
                throw Error(ErrorKind::unsupported_image,
                            "the object " + object_name(checksum, type) + " is too large");
            fetch_file(source_, entry,
                       [&](auto piece) { bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size()); });
            if (sha256(bytes) != checksum)
                throw Error(ErrorKind::corrupt_input, "the object " + object_name(checksum, type) + " is corrupt");
        }
        directory_bytes_ += bytes.size();
        if (directory_bytes_ > max_directory_bytes)
            throw Error(ErrorKind::unsupported_image, "its directories are too large");
        return bytes;
    }

    const LayerEntry& find(ObjectType type, const Checksum& checksum) {
        const auto name = object_name(checksum, type);
        for (;;) {
            if (const auto found = entries_.find(name); found != entries_.end()) return found->second;
            read_next("the object " + name + " is in no layer");
        }
    }

    void read_next(const std::string& missing) {
        if (unread_.empty()) throw Error(ErrorKind::corrupt_input, missing);
        const auto& blob = *unread_.front();
        unread_.erase(unread_.begin());
        read_layer_table(
            source_, blob, use_,
            [&](std::string& name, LayerEntry entry) {
                const auto object = object_in_layer(split_path(name));
                if (!object) return;
                if (object->type == suffix(ObjectType::commit))
                    commits_.insert(object->checksum);
                else if (object->type != suffix(ObjectType::dirtree) && object->type != suffix(ObjectType::file))
                    return;
                use_.add_entry(name, entry.target);
                entries_.emplace(object->checksum.hex() + "." + object->type, std::move(entry));
            },
            [](TableEntry&) {});
    }

    const Repository& repository_;
    LayerSource& source_;
    TableUse& use_;
    std::vector<const Descriptor*> unread_;
    std::map<std::string, LayerEntry> entries_;  // by the object's name
    std::set<Checksum> commits_;
    std::map<Checksum, Directory> directories_;  // that were looked into
    std::uint64_t directory_bytes_ = 0;
};

// What is below the layers of files: the base commit; or a derived layer that is here, as its commit has it.
class CommitLayer : public Layer {
public:
    CommitLayer(std::unique_ptr<Objects> objects, const Checksum& tree)
        : objects_(std::move(objects)), root_{true, tree, {}} {
        if (named(root_, std::string(displaced_directory)))
            throw Error(ErrorKind::unsupported_image,
                        "a layer has entries at paths that contain symbolic links of other layers");
    }

    std::optional<LayerEntry> at(const Path& path) const override {
        const auto found = find(path);
        if (!found) return std::nullopt;
        if (found->directory) return LayerEntry{LayerEntry::Kind::directory};
        return objects_->file(found->object);
    }
    std::set<std::string> names(const Path& path) const override {
        std::set<std::string> found;
        if (const auto directory = find(path); directory && directory->directory) {
            for (const auto& [name, entry] : objects_->directory(directory->object)) found.insert(name);
        }
        return found;
    }
    std::unique_ptr<SeekableContent> open(const LayerEntry& file) const override { return objects_->open(file); }

private:
    std::optional<TreeEntry> find(const Path& path) const {
        for (const bool move_var : {false, true}) {
            std::optional<TreeEntry> entry = root_;
            for (const auto& name : PathMapping{move_var}.stored(path)) {
                entry = named(*entry, name);
                if (!entry) break;
            }
            if (entry) return entry;
        }
        return std::nullopt;
    }
    std::optional<TreeEntry> named(const TreeEntry& parent, const std::string& name) const {
        if (!parent.directory) return std::nullopt;
        const auto& directory = objects_->directory(parent.object);
        const auto found = directory.find(name);
        return found == directory.end() ? std::nullopt : std::optional(found->second);
    }

    const std::unique_ptr<Objects> objects_;
    const TreeEntry root_;
};

// A zstd:chunked layer of the source, by its table of contents.
class TableLayer : public Layer {
public:
    // USE: of all layers so far.
    TableLayer(LayerSource& source, const Descriptor& blob, TableUse& use) : source_(source) {
        std::vector<std::pair<std::string, std::string>> hardlinks;
        read_layer_table(
            source, blob, use, [&](std::string& name, LayerEntry entry) { add(name, std::move(entry), use); },
            [&](TableEntry& link) {
                use.add_entry(link.name, link.target);
                hardlinks.emplace_back(std::move(link.name), std::move(link.target));
            });
        for (const auto& [name, target] : hardlinks) {
            const auto linked = at(split_path(target));
            if (linked && linked->kind == LayerEntry::Kind::file) add(name, *linked, use);
        }
    }

    std::optional<LayerEntry> at(const Path& path) const override {
        const auto name = join_path(path);
        const auto found = entries_.lower_bound(name);
        if (found != entries_.end() && found->first == name) return found->second;
        // A directory that the layer does not list.
        const auto inside = entries_.lower_bound(name + "/");
        if (inside != entries_.end() && inside->first.starts_with(name + "/"))
            return LayerEntry{LayerEntry::Kind::directory};
        return std::nullopt;
    }
    std::set<std::string> names(const Path& path) const override {
        std::set<std::string> found;
        const auto prefix = path.empty() ? std::string() : join_path(path) + "/";
        for (auto entry = entries_.lower_bound(prefix); entry != entries_.end() && entry->first.starts_with(prefix);
             ++entry)
            found.insert(entry->first.substr(prefix.size(), entry->first.find('/', prefix.size()) - prefix.size()));
        return found;
    }
    std::unique_ptr<SeekableContent> open(const LayerEntry& file) const override {
        return fetched_content(source_, file);
    }

private:
    // The last entry of a name counts.
    void add(const std::string& name, LayerEntry entry, TableUse& use) {
        const auto path = split_path(name);
        if (path.empty()) return;
        if (std::find(path.begin(), path.end(), "..") != path.end())
            throw Error(ErrorKind::corrupt_input, "a path contains \"..\"");
        use.add_entry(name, entry.target);
        entries_.insert_or_assign(join_path(path), std::move(entry));
    }

    LayerSource& source_;
    std::map<std::string, LayerEntry> entries_;
};

class UpdateTree : public ContentTree {
public:
    // USE is what LAYERS go on counting in.
    UpdateTree(std::unique_ptr<TableUse> use, std::vector<std::unique_ptr<Layer>> layers)
        : use_(std::move(use)), layers_(std::move(layers)) {}

    std::optional<Node> find(const Path& path) const override {
        const auto lookup = [&](bool, const Path& place, const std::string& name, bool) {
            const auto found = look(below(place, name));
            const bool is_link = found && found->entry.kind == LayerEntry::Kind::link;
            return PathStep<bool>{true, is_link ? std::optional(found->entry.target) : std::nullopt};
        };
        const auto resolved = resolve_path(path, true, lookup);
        const auto found = look(resolved);
        return found ? std::optional(node_of(resolved, *found)) : std::nullopt;
    }
    std::map<std::string, Node> list(const Node& directory) const override {
        const auto path = split_path(directory.id);
        std::set<std::string> names;
        for (const auto& layer : layers_) names.merge(layer->names(path));
        std::map<std::string, Node> nodes;
        for (const auto& name : names) {
            if (name.starts_with(whiteout_prefix)) continue;
            const auto place = below(path, name);
            if (const auto found = look(place)) nodes.emplace(name, node_of(place, *found));
        }
        return nodes;
    }
    std::unique_ptr<SeekableContent> open(const Node& file, std::uint64_t limit) const override {
        const auto found = look(split_path(file.id));
        if (!found || found->entry.kind != LayerEntry::Kind::file)
            throw Error(ErrorKind::corrupt_input, "it is a symbolic link");
        if (found->entry.size > std::min(limit, max_fetched_bytes))
            throw Error(
                ErrorKind::unsupported_image,
                "it is larger than the limit of " + std::to_string(std::min(limit, max_fetched_bytes)) + " bytes");
        return found->layer->open(found->entry);
    }

private:
    // What is fetched is in memory.
    static constexpr std::uint64_t max_fetched_bytes = 256ULL * 1024 * 1024;

    struct Found {
        const Layer* layer;
        LayerEntry entry;
    };

    static Path below(Path path, const std::string& name) {
        path.push_back(name);
        return path;
    }
    static Node node_of(const Path& path, const Found& found) {
        return {found.entry.kind == LayerEntry::Kind::directory, join_path(path)};
    }

    // What is at PATH, no links followed.
    std::optional<Found> look(const Path& path) const {
        if (path.empty()) return Found{layers_.back().get(), {LayerEntry::Kind::directory}};
        for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
            if (auto entry = (*layer)->at(path)) return Found{layer->get(), *std::move(entry)};
            if (hides(**layer, path)) return std::nullopt;
        }
        return std::nullopt;
    }

    // Whether what the layers below LAYER have at PATH is not there any more.
    static bool hides(const Layer& layer, const Path& path) {
        Path parent;
        for (const auto& name : path) {
            if (layer.at(below(parent, std::string(opaque_whiteout)))) return true;
            if (layer.at(below(parent, std::string(whiteout_prefix) + name))) return true;
            parent.push_back(name);
            const auto entry = layer.at(parent);
            if (!entry) return false;
            if (entry->kind != LayerEntry::Kind::directory) return true;
        }
        return false;
    }

    const std::unique_ptr<TableUse> use_;
    const std::vector<std::unique_ptr<Layer>> layers_;
};

std::unique_ptr<Layer> make_stored(const Repository& repository, const Checksum& commit, LayerSource& source,
                                   TableUse& use) {
    return std::make_unique<CommitLayer>(std::make_unique<Objects>(repository, source, use),
                                         repository.load_commit(commit).tree);
}

std::unique_ptr<Layer> make_base(const Repository& repository, const ImageLayout& layout,
                                 const std::vector<std::optional<Checksum>>& present, LayerSource& source,
                                 TableUse& use) {
    auto objects = std::make_unique<Objects>(repository, source, use);
    std::optional<Checksum> commit;
    // The commit layer has what was not packed into chunks, the directories too.
    for (const auto kind : {LayerKind::commit, LayerKind::chunk}) {
        for (std::size_t i = 0; i < layout.layers.size(); ++i) {
            if (layout.layers[i].kind != kind) continue;
            const bool is_here = i < present.size() && present[i];
            if (!is_here) {
                require_table(source, layout.layers[i].blob);
                objects->add_layer(layout.layers[i].blob);
            }
            if (is_here && kind == LayerKind::commit) commit = present[i];
        }
    }
    const auto tree = (commit ? repository.load_commit(*commit) : objects->commit()).tree;
    return std::make_unique<CommitLayer>(std::move(objects), tree);
}

}  // namespace

std::unique_ptr<ContentTree> make_update_tree(const Repository& repository, const ImageLayout& layout,
                                              const std::vector<std::optional<Checksum>>& present, LayerSource& source,
                                              const Cancellation& cancellation) {
    if (layout.layers.empty()) throw Error(ErrorKind::unsupported_image, "it has no layers");
    auto use = std::make_unique<TableUse>();
    std::vector<std::unique_ptr<Layer>> layers;
    if (layout.ostree) layers.push_back(make_base(repository, layout, present, source, *use));
    for (std::size_t i = 0; i < layout.layers.size(); ++i) {
        cancellation.check();
        const auto& layer = layout.layers[i];
        if (layer.kind != LayerKind::derived) continue;
        if (i < present.size() && present[i])
            layers.push_back(make_stored(repository, *present[i], source, *use));
        else
            layers.push_back(std::make_unique<TableLayer>(source, layer.blob, *use));
    }
    return std::make_unique<UpdateTree>(std::move(use), std::move(layers));
}

}  // namespace imaged
