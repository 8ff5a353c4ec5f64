// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/tree-contents.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/tree-path.hpp"
#include "packages/dpkg-status.hpp"
#include "packages/rpm-database.hpp"
#include "store/repository/file-object.hpp"
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

// A tree by the image's own paths, symbolic links followed. A commit has /etc at usr/etc, and may have /var at
// usr/share/factory/var.
class ImageTree {
public:
    ImageTree(const Repository& repository, const Checksum& root) : repository_(repository), root_{true, root, {}} {}

    // What is at PATH; nullopt if there is nothing.
    std::optional<TreeEntry> find(const Path& path) const {
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
    Directory list(const TreeEntry& directory) const {
        return parse_directory(repository_.require_metadata(ObjectType::dirtree, directory.object));
    }
    const Repository& repository() const { return repository_; }

private:
    using Place = std::optional<TreeEntry>;

    Place named(const TreeEntry& parent, const std::string& name) const {
        if (!parent.directory) return std::nullopt;
        const auto directory = list(parent);
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

// Compressed repositories have a copy in memory.
constexpr std::uint64_t max_copied_bytes = 256ULL * 1024 * 1024;

// The content of a database's OBJECT in a file that can be read in any order: the object itself, or a copy in memory.
class SeekableContent {
public:
    SeekableContent(const Repository& repository, const Checksum& object)
        : object_(repository, object), file_(object_.content_fd()) {
        const auto limit = file_ < 0 ? max_copied_bytes : max_rpm_database_bytes;
        if (object_.size() > limit)
            throw Error(ErrorKind::unsupported_image,
                        "it is larger than the limit of " + std::to_string(limit) + " bytes");
        if (file_ < 0) copy();
    }

    RandomFile random() const {
        return {object_.size(), [file = file_](std::uint64_t offset, std::span<std::byte> buffer) {
                    while (!buffer.empty()) {
                        const auto count = ::pread(file, buffer.data(), buffer.size(), static_cast<off_t>(offset));
                        if (count < 0 && errno == EINTR) continue;
                        if (count < 0) throw_errno("read a package database");
                        if (count == 0) throw Error(ErrorKind::repository_damaged, "an object is cut");
                        offset += static_cast<std::uint64_t>(count);
                        buffer = buffer.subspan(static_cast<std::size_t>(count));
                    }
                }};
    }

private:
    void copy() {
        copy_ = FileDescriptor(::memfd_create("package-database", MFD_CLOEXEC));
        if (!copy_) throw_errno("memfd_create");
        std::vector<std::byte> buffer(std::size_t{1024} * 1024);
        while (const auto size = object_.read(buffer))
            write_all(copy_.get(), std::span(buffer).first(size), "a copy of a package database");
        file_ = copy_.get();
    }

    FileObject object_;
    FileDescriptor copy_;
    int file_;
};

bool is_fault_of_image(const Error& error) {
    return error.kind() == ErrorKind::corrupt_input || error.kind() == ErrorKind::unsupported_image;
}

class ContentsReader {
public:
    ContentsReader(const Repository& repository, const Checksum& root, const Cancellation& cancellation)
        : tree_(repository, root), cancellation_(cancellation) {}

    TreeContents run() {
        read_dpkg();
        read_rpm();
        for (const auto& place : module_places) {
            const auto modules = find_or_none(place);
            if (!modules || !modules->directory) continue;
            for (const auto& [name, entry] : tree_.list(*modules))
                if (entry.directory) contents_.kernels.insert(name);
        }
        if (const auto etc = find_or_none({"etc"}); etc && etc->directory) contents_.etc = etc->object;
        return std::move(contents_);
    }

private:
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
    std::optional<TreeEntry> find(PackageFormat format, const Path& path) {
        std::optional<TreeEntry> found;
        read(format, path, [&](PackageSet&) { found = tree_.find(path); });
        return found;
    }

    // A way there that leads in circles is nothing.
    std::optional<TreeEntry> find_or_none(const Path& path) const {
        try {
            return tree_.find(path);
        } catch (const Error& error) {
            if (!is_fault_of_image(error)) throw;
            return std::nullopt;
        }
    }

    void read_dpkg() {
        for (const auto& place : dpkg_places) {
            const auto status = find(PackageFormat::dpkg, below(place, "status"));
            const auto directory = find(PackageFormat::dpkg, below(place, "status.d"));
            if (status) {
                read(PackageFormat::dpkg, below(place, "status"),
                     [&](PackageSet& packages) { read_status(*status, false, packages); });
            }
            if (directory && directory->directory) read_directory(below(place, "status.d"), *directory);
            if (status || directory) return;
        }
    }

    void read_directory(const Path& place, const TreeEntry& directory) {
        read(PackageFormat::dpkg, place, [&](PackageSet& packages) {
            std::uint64_t files = 0;
            bytes_ = 0;
            for (const auto& [name, entry] : tree_.list(directory)) {
                if (name.ends_with(".md5sums") || entry.directory) continue;
                if (++files > max_status_files)
                    throw Error(ErrorKind::unsupported_image,
                                "it has more than " + std::to_string(max_status_files) + " files");
                in_context(name, [&, &object = entry] { read_status(object, true, packages); });
            }
        });
    }

    void read_status(const TreeEntry& entry, bool without_status, PackageSet& packages) {
        if (entry.directory) throw Error(ErrorKind::corrupt_input, "it is a directory");
        FileObject file(tree_.repository(), entry.object);
        if (file.is_symlink()) throw Error(ErrorKind::corrupt_input, "it is a symbolic link");
        const ReadBytes bytes = [&](std::span<std::byte> buffer) {
            cancellation_.check();
            const auto size = file.read(buffer);
            bytes_ += without_status ? size : 0;
            if (bytes_ > max_dpkg_status_bytes)
                throw Error(ErrorKind::unsupported_image, "its files are larger than the limit of " +
                                                              std::to_string(max_dpkg_status_bytes) + " bytes");
            return size;
        };
        read_dpkg_status(bytes, without_status, packages);
    }

    void read_rpm() {
        for (const auto& place : rpm_places) {
            const auto path = below(place, "rpmdb.sqlite");
            const auto database = find(PackageFormat::rpm, path);
            if (database) {
                read(PackageFormat::rpm, path,
                     [&](PackageSet& packages) { read_rpm_file(place, *database, packages); });
                return;
            }
            for (const auto* const other : other_rpm_databases) {
                if (!find(PackageFormat::rpm, below(place, other))) continue;
                contents_.unread.push_back({PackageFormat::rpm, "/" + join_path(below(place, other)),
                                            "it is not SQLite's, the only kind that imaged reads"});
                return;
            }
        }
    }

    void read_rpm_file(const Path& place, const TreeEntry& entry, PackageSet& packages) {
        if (entry.directory) throw Error(ErrorKind::corrupt_input, "it is a directory");
        if (const auto log = tree_.find(below(place, "rpmdb.sqlite-wal")); log && !log->directory) {
            if (const FileObject file(tree_.repository(), log->object); file.size() > 0)
                throw Error(ErrorKind::unsupported_image, "changes of it are in rpmdb.sqlite-wal still");
        }
        const SeekableContent content(tree_.repository(), entry.object);
        read_rpm_database(
            content.random(), [&] { cancellation_.check(); }, packages);
    }

    const ImageTree tree_;
    const Cancellation& cancellation_;
    TreeContents contents_;
    std::uint64_t bytes_ = 0;  // of the files of status.d
};

}  // namespace

TreeContents read_contents(const Repository& repository, const Checksum& tree, const Cancellation& cancellation) {
    return ContentsReader(repository, tree, cancellation).run();
}

}  // namespace imaged
