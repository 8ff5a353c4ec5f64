// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/update-tree.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "chunked/chunked-parts.hpp"
#include "chunked/table.hpp"
#include "chunked/unpacked-part.hpp"
#include "layer/path-mapping.hpp"
#include "store/import/blob-parts.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

namespace {

// Of all tables together. Those of 100,000 files have some 5 MiB, which unpack to 30 MiB, and what is kept of an entry
// takes some 200 bytes.
constexpr std::size_t max_entries = 200'000;
constexpr std::uint64_t max_table_bytes = 32 * 1024 * 1024, max_unpacked_bytes = 512 * 1024 * 1024;

struct LayerEntry {
    enum class Kind { directory, file, link } kind = Kind::file;
    std::string target = {};                      // of a symbolic link
    std::optional<Checksum> object = {};          // of a file that is here
    std::uint64_t size = 0, offset = 0, end = 0;  // of one that is not: bytes, and where its frames are in the blob
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

// A derived layer that is here, as its commit has it.
class StoredLayer : public Layer {
public:
    StoredLayer(const Repository& repository, const Checksum& commit)
        : repository_(repository), root_{true, repository.load_commit(commit).tree, {}} {
        if (named(root_, std::string(displaced_directory)))
            throw Error(ErrorKind::unsupported_image, "a layer has entries at paths that lead through other layers");
    }

    std::optional<LayerEntry> at(const Path& path) const override {
        const auto found = find(path);
        if (!found) return std::nullopt;
        if (found->directory) return LayerEntry{LayerEntry::Kind::directory};
        const FileObject file(repository_, found->object);
        if (file.is_symlink()) return LayerEntry{LayerEntry::Kind::link, file.target()};
        return LayerEntry{.object = found->object, .size = file.size()};
    }
    std::set<std::string> names(const Path& path) const override {
        std::set<std::string> found;
        if (const auto directory = find(path); directory && directory->directory) {
            for (const auto& [name, entry] : entries(directory->object)) found.insert(name);
        }
        return found;
    }
    std::unique_ptr<SeekableContent> open(const LayerEntry& file) const override {
        return std::make_unique<SeekableContent>(FileObject(repository_, file.object.value()));
    }

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
        const auto directory = entries(parent.object);
        const auto found = directory.find(name);
        return found == directory.end() ? std::nullopt : std::optional(found->second);
    }
    Directory entries(const Checksum& directory) const {
        return parse_directory(repository_.require_metadata(ObjectType::dirtree, directory));
    }

    const Repository& repository_;
    const TreeEntry root_;
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
    std::size_t entries = 0;
    std::uint64_t bytes = 0, unpacked = 0;

    void add(const PackedPart& table) {
        bytes += table.bytes;
        unpacked += table.unpacked;
        if (bytes > max_table_bytes || unpacked > max_unpacked_bytes)
            throw Error(ErrorKind::unsupported_image, "its tables of contents are too large");
    }
    void add_entry() {
        if (++entries > max_entries)
            throw Error(ErrorKind::unsupported_image, "more than " + std::to_string(max_entries) + " files");
    }
};

// A zstd:chunked layer of the source, by its table of contents.
class TableLayer : public Layer {
public:
    // USE: of all layers so far.
    TableLayer(LayerSource& source, const Descriptor& blob, TableUse& use) : source_(source), blob_(blob) {
        const auto parts = chunked_parts(blob);
        if (!parts || !source.gives_parts())
            throw Error(ErrorKind::unsupported_image,
                        "layer " + blob.digest.text() + " is not here, and has no table of contents that can be read");
        in_context("the table of contents of layer " + blob.digest.text(), [&] { read(*parts, use); });
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
        FileDescriptor copy(::memfd_create("package-database", MFD_CLOEXEC));
        if (!copy) throw_errno("memfd_create");
        if (file.size == 0) return std::make_unique<SeekableContent>(std::move(copy), 0);
        BlobParts packed(source_, blob_, {{file.offset, file.end - file.offset}}, [](std::size_t) {});
        UnpackedPart text(packed, file.size, "a part of the layer");
        Sha256 hash;
        std::vector<std::byte> buffer(std::size_t{64} * 1024);
        std::uint64_t size = 0;
        while (const auto count = text.read(buffer)) {
            const auto piece = std::span(buffer).first(count);
            hash.update(piece);
            write_all(copy.get(), piece, "a copy of a package database");
            size += count;
        }
        if (size != file.size || hash.finish() != file.content)
            throw Error(ErrorKind::digest_mismatch, "a file does not have the digest that the table of contents says");
        return std::make_unique<SeekableContent>(std::move(copy), size);
    }

private:
    void read(const ChunkedParts& parts, TableUse& use) {
        use.add(parts.table);
        std::vector<std::byte> packed(static_cast<std::size_t>(parts.table.bytes));
        BlobParts blob(source_, blob_, {{parts.table.offset, parts.table.bytes}}, [](std::size_t) {});
        if (blob.read(packed) < packed.size()) throw Error(ErrorKind::source_unreachable, "it ends early");
        if (sha256(packed).hex() != parts.table_digest.hex())
            throw Error(ErrorKind::digest_mismatch, "it does not have the digest that the manifest says");
        MemorySource memory(packed);
        UnpackedPart text(memory, parts.table.unpacked, "a part of the layer");
        read_table(
            text,
            [&](TableFile& file) {
                if (file.end > parts.table.offset) throw Error(ErrorKind::corrupt_input, "a file is behind the table");
                add(file.name, {.size = file.size, .offset = file.offset, .end = file.end, .content = file.content},
                    use);
            },
            [&](TableEntry& other) {
                if (other.kind == "hardlink") {
                    use.add_entry();
                    hardlinks_.emplace_back(std::move(other.name), std::move(other.target));
                    return;
                }
                LayerEntry entry;
                if (other.kind == "dir") entry.kind = LayerEntry::Kind::directory;
                if (other.kind == "symlink") entry = {LayerEntry::Kind::link, std::move(other.target)};
                add(other.name, std::move(entry), use);
            });
        for (const auto& [name, target] : hardlinks_) {
            const auto linked = at(split_path(target));
            if (linked && linked->kind == LayerEntry::Kind::file) add(name, *linked, use);
        }
    }

    // The last entry of a name counts.
    void add(const std::string& name, LayerEntry entry, TableUse& use) {
        source_.cancellation().check();
        const auto path = split_path(name);
        if (path.empty()) return;
        if (std::find(path.begin(), path.end(), "..") != path.end())
            throw Error(ErrorKind::corrupt_input, "a path climbs out of the image");
        use.add_entry();
        entries_.insert_or_assign(join_path(path), std::move(entry));
    }

    LayerSource& source_;
    const Descriptor& blob_;
    std::map<std::string, LayerEntry> entries_;
    std::vector<std::pair<std::string, std::string>> hardlinks_;
};

class UpdateTree : public ContentTree {
public:
    explicit UpdateTree(std::vector<std::unique_ptr<Layer>> layers) : layers_(std::move(layers)) {}

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

    const std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace

std::unique_ptr<ContentTree> make_update_tree(const Repository& repository, const ImageLayout& layout,
                                              const std::vector<std::optional<Checksum>>& present, LayerSource& source,
                                              const Cancellation& cancellation) {
    if (layout.layers.empty()) throw Error(ErrorKind::unsupported_image, "it has no layers");
    std::vector<std::unique_ptr<Layer>> layers;
    TableUse use;
    for (std::size_t i = 0; i < layout.layers.size(); ++i) {
        cancellation.check();
        const auto& layer = layout.layers[i];
        if (layer.kind != LayerKind::derived)
            throw Error(ErrorKind::unsupported_image, "it has layers of an OSTree commit");
        if (i < present.size() && present[i])
            layers.push_back(std::make_unique<StoredLayer>(repository, *present[i]));
        else
            layers.push_back(std::make_unique<TableLayer>(source, layer.blob, use));
    }
    return std::make_unique<UpdateTree>(std::move(layers));
}

}  // namespace imaged
