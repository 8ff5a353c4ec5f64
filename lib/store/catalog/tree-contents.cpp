// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/tree-contents.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "packages/dpkg-status.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

namespace {

// Where distributions have them; an image may have symbolic links at these places that lead elsewhere.
const std::vector<Path> dpkg_places{{"var", "lib", "dpkg"}, {"usr", "lib", "sysimage", "dpkg"}};
const std::vector<Path> rpm_places{{"usr", "lib", "sysimage", "rpm"}, {"var", "lib", "rpm"}, {"usr", "share", "rpm"}};
const std::vector<Path> module_places{{"usr", "lib", "modules"}, {"lib", "modules"}};
// A database of another format in rpm's directory.
constexpr const char* other_rpm_databases[] = {"Packages", "Packages.db"};
constexpr std::uint64_t max_status_files = PackageSet::max_packages;

// Compressed repositories have a copy in memory.
constexpr std::uint64_t max_copied_bytes = 256ULL * 1024 * 1024;

[[noreturn]] void refuse_size(std::uint64_t limit) {
    throw Error(ErrorKind::unsupported_image, "it is larger than the limit of " + std::to_string(limit) + " bytes");
}

// A commit's tree by the image's own paths. A commit has /etc at usr/etc, and may have /var at usr/share/factory/var.
class StoredTree : public ContentTree {
public:
    StoredTree(const Repository& repository, const Checksum& root) : repository_(repository), root_{true, root, {}} {}

    std::optional<Node> find(const Path& path) const override {
        const auto found = find_entry(path);
        return found ? std::optional(node_of(*found)) : std::nullopt;
    }
    std::map<std::string, Node> list(const Node& directory) const override {
        std::map<std::string, Node> nodes;
        for (const auto& [name, entry] : entries(object_of(directory))) nodes.emplace(name, node_of(entry));
        return nodes;
    }
    std::unique_ptr<SeekableContent> open(const Node& file, std::uint64_t limit) const override {
        FileObject object(repository_, object_of(file));
        if (object.is_symlink()) throw Error(ErrorKind::corrupt_input, "it is a symbolic link");
        const auto most = object.content_fd() ? limit : std::min(limit, max_copied_bytes);
        if (object.size() > most) refuse_size(most);
        return std::make_unique<SeekableContent>(std::move(object));
    }

    std::optional<TreeEntry> find_entry(const Path& path) const {
        for (const bool moved : {false, true}) {
            const auto lookup = [&](const Place& parent, const Path& place, const std::string& name, bool) {
                auto found = parent ? child(*parent, place.empty(), name, moved) : std::nullopt;
                if (!found || found->directory) return PathStep<Place>{found};
                const FileObject file(repository_, found->object);
                return PathStep<Place>{found, file.is_symlink() ? std::optional(file.target()) : std::nullopt};
            };
            auto entry = Place(root_);
            const auto resolved = resolve_path(path, Place(root_), lookup);
            for (std::size_t i = 0; i < resolved.size() && entry; ++i)
                entry = child(*entry, i == 0, resolved[i], moved);
            if (entry) return entry;
        }
        return std::nullopt;
    }

private:
    using Place = std::optional<TreeEntry>;

    static Node node_of(const TreeEntry& entry) { return {entry.directory, entry.object.hex()}; }
    static Checksum object_of(const Node& node) { return Checksum::from_hex(node.id).value(); }
    Directory entries(const Checksum& directory) const {
        return parse_directory(repository_.require_metadata(ObjectType::dirtree, directory));
    }
    Place named(const TreeEntry& parent, const std::string& name) const {
        if (!parent.directory) return std::nullopt;
        const auto directory = entries(parent.object);
        const auto found = directory.find(name);
        return found == directory.end() ? std::nullopt : Place(found->second);
    }
    Place child(const TreeEntry& parent, bool at_root, const std::string& name, bool moved) const {
        if (!at_root || !moved) return named(parent, name);
        Path place{name};
        if (name == "etc") place = {"usr", "etc"};
        if (name == "var") place = {"usr", "share", "factory", "var"};
        Place entry = parent;
        for (const auto& step : place) entry = entry ? named(*entry, step) : std::nullopt;
        return entry;
    }

    const Repository& repository_;
    const TreeEntry root_;
};

bool is_fault_of_image(const Error& error) {
    return error.kind() == ErrorKind::corrupt_input || error.kind() == ErrorKind::unsupported_image;
}

class ContentsReader {
public:
    ContentsReader(const ContentTree& tree, const Cancellation& cancellation)
        : tree_(tree), cancellation_(cancellation) {}

    TreeContents run() {
        read_dpkg();
        read_rpm();
        for (const auto& place : module_places) {
            const auto modules = find_or_none(place);
            if (!modules || !modules->is_directory) continue;
            for (const auto& [name, entry] : tree_.list(*modules))
                if (entry.is_directory) contents_.kernels.insert(name);
        }
        return std::move(contents_);
    }

private:
    using Node = ContentTree::Node;

    static Path below(Path place, const char* name) {
        place.emplace_back(name);
        return place;
    }

    // FUNCTION reads the database at PLACE into the set that it is given.
    template <typename Function>
    void read(PackageFormat format, const Path& place, Function function) {
        cancellation_.check();
        try {
            PackageSet packages;
            function(packages);
            for (const auto& package : packages.packages()) contents_.packages.add(package);
        } catch (const Error& error) {
            if (!is_fault_of_image(error)) throw;
            contents_.unread.push_back({format, "/" + join_path(place), error.what()});
        }
    }

    // Looks at PATH; a way there that leads in circles is a database that cannot be read.
    std::optional<Node> find(PackageFormat format, const Path& path) {
        std::optional<Node> found;
        read(format, path, [&](PackageSet&) { found = tree_.find(path); });
        return found;
    }

    // A way there that leads in circles is nothing.
    std::optional<Node> find_or_none(const Path& path) const {
        try {
            return tree_.find(path);
        } catch (const Error& error) {
            if (!is_fault_of_image(error)) throw;
            return std::nullopt;
        }
    }

    // Each place that has a database; links may lead to one from several.
    void read_dpkg() {
        for (const auto& place : dpkg_places) {
            const auto status = find(PackageFormat::dpkg, below(place, "status"));
            const auto directory = find(PackageFormat::dpkg, below(place, "status.d"));
            if (status && is_new(*status)) {
                read(PackageFormat::dpkg, below(place, "status"), [&](PackageSet& packages) {
                    require_no_updates(place);
                    read_status(*status, false, packages);
                });
            }
            if (directory && directory->is_directory && is_new(*directory))
                read_directory(below(place, "status.d"), *directory);
        }
    }

    bool is_new(const Node& database) { return databases_.insert(database.id).second; }

    // Of an interrupted dpkg, which would read them first.
    void require_no_updates(const Path& place) const {
        const auto updates = tree_.find(below(place, "updates"));
        if (!updates || !updates->is_directory) return;
        for (const auto& [name, entry] : tree_.list(*updates))
            if (std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }))
                throw Error(ErrorKind::unsupported_image, "changes of it are in updates/" + name + " still");
    }

    void read_directory(const Path& place, const Node& directory) {
        read(PackageFormat::dpkg, place, [&](PackageSet& packages) {
            std::uint64_t files = 0;
            bytes_ = 0;
            for (const auto& [name, entry] : tree_.list(directory)) {
                if (name.ends_with(".md5sums") || entry.is_directory) continue;
                if (++files > max_status_files)
                    throw Error(ErrorKind::unsupported_image,
                                "it has more than " + std::to_string(max_status_files) + " files");
                in_context(name, [&, &object = entry] { read_status(object, true, packages); });
            }
        });
    }

    void read_status(const Node& node, bool without_status, PackageSet& packages) {
        if (node.is_directory) throw Error(ErrorKind::corrupt_input, "it is a directory");
        const auto content = tree_.open(node, max_dpkg_status_bytes);
        const auto file = content->random();
        if (without_status) bytes_ += file.size;
        if (bytes_ > max_dpkg_status_bytes)
            throw Error(ErrorKind::unsupported_image,
                        "its files are larger than the limit of " + std::to_string(max_dpkg_status_bytes) + " bytes");
        std::uint64_t position = 0;
        const ReadBytes bytes = [&](std::span<std::byte> buffer) {
            cancellation_.check();
            const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size - position));
            file.read(position, buffer.first(size));
            position += size;
            return size;
        };
        read_dpkg_status(bytes, without_status, packages);
    }

    void read_rpm() {
        bool any = false;
        for (const auto& place : rpm_places) {
            const auto path = below(place, "rpmdb.sqlite");
            const auto database = find(PackageFormat::rpm, path);
            any = any || database;
            if (database && is_new(*database))
                read(PackageFormat::rpm, path,
                     [&](PackageSet& packages) { read_rpm_file(place, *database, packages); });
        }
        // Beside one of SQLite they are what an older rpm left.
        if (!any) find_other_rpm_database();
    }

    void find_other_rpm_database() {
        for (const auto& place : rpm_places) {
            for (const auto* const other : other_rpm_databases) {
                if (!find(PackageFormat::rpm, below(place, other))) continue;
                contents_.unread.push_back({PackageFormat::rpm, "/" + join_path(below(place, other)),
                                            "it is not SQLite's, the only kind that imaged reads"});
                return;
            }
        }
    }

    void read_rpm_file(const Path& place, const Node& node, PackageSet& packages) {
        if (node.is_directory) throw Error(ErrorKind::corrupt_input, "it is a directory");
        if (const auto log = tree_.find(below(place, "rpmdb.sqlite-wal")); log && !log->is_directory) {
            if (tree_.open(*log, max_rpm_database_bytes)->size() > 0)
                throw Error(ErrorKind::unsupported_image, "changes of it are in rpmdb.sqlite-wal still");
        }
        const auto content = tree_.open(node, max_rpm_database_bytes);
        read_rpm_database(
            content->random(), [&] { cancellation_.check(); }, packages);
    }

    const ContentTree& tree_;
    const Cancellation& cancellation_;
    TreeContents contents_;
    std::set<std::string> databases_;  // that were read
    std::uint64_t bytes_ = 0;          // of the files of status.d
};

}  // namespace

SeekableContent::SeekableContent(FileObject object) : object_(std::move(object)), size_(object_->size()) {
    if (object_->content_fd()) return;
    copy_ = memory_file("package-database");
    std::vector<std::byte> buffer(std::size_t{1024} * 1024);
    while (const auto size = object_->read(buffer))
        write_all(copy_.get(), std::span(buffer).first(size), "a copy of a package database");
}

SeekableContent::SeekableContent(FileDescriptor file, std::uint64_t size) : copy_(std::move(file)), size_(size) {}

RandomFile SeekableContent::random() const {
    const int file = copy_ ? copy_.get() : object_->content_fd().value();
    return {size_, [file](std::uint64_t offset, std::span<std::byte> buffer) {
                if (read_at(file, offset, buffer, "a package database") < buffer.size())
                    throw Error(ErrorKind::repository_damaged, "an object is cut");
            }};
}

TreeContents read_contents(const ContentTree& tree, const Cancellation& cancellation) {
    return ContentsReader(tree, cancellation).run();
}

TreeContents read_contents(const Repository& repository, const Checksum& tree, const Cancellation& cancellation) {
    const StoredTree stored(repository, tree);
    auto contents = read_contents(stored, cancellation);
    try {
        if (const auto etc = stored.find_entry({"etc"}); etc && etc->directory) contents.etc = etc->object;
    } catch (const Error& error) {
        // A way there that leads in circles is nothing.
        if (!is_fault_of_image(error)) throw;
    }
    return contents;
}

}  // namespace imaged
