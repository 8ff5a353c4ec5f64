// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/object-graph.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/system-failure.hpp"
#include "layer/dirtree.hpp"
#include "layer/object-placement.hpp"
#include "store/repository/object-listing.hpp"

namespace imaged {

namespace {

constexpr std::uint64_t block_bytes = 512;  // of st_blocks
constexpr std::uint64_t kind_bits = 7;

// That two objects share it does not happen by chance; by choice it makes a number wrong, and nothing else.
std::uint64_t key_of(const Checksum& checksum, ObjectKind kind) {
    std::uint64_t key = 0;
    for (std::size_t i = 0; i < sizeof key; ++i) key = (key << 8) | checksum.bytes[i];
    return (key & ~kind_bits) | static_cast<std::uint64_t>(kind);
}

ObjectKind kind_of(std::string_view type) {
    constexpr std::pair<std::string_view, ObjectKind> kinds[] = {{"file", ObjectKind::file},
                                                                 {"filez", ObjectKind::file},
                                                                 {"dirtree", ObjectKind::dirtree},
                                                                 {"dirmeta", ObjectKind::dirmeta},
                                                                 {"commit", ObjectKind::commit},
                                                                 {"commitmeta", ObjectKind::metadata},
                                                                 {"commitmeta-compat", ObjectKind::compat_metadata}};
    for (const auto& [name, kind] : kinds) {
        if (name == type) return kind;
    }
    return ObjectKind::other;
}

struct FoundObject {
    std::uint64_t key, bytes;
    std::size_t first = 0, count = 0;  // of the keys of what it names
    bool broken = false;
};

// An object that is one of several links to a file.
struct FoundLink {
    std::uint64_t key, bytes;
    std::pair<dev_t, ino_t> file;
    nlink_t links;
};

// What one of the object directories holds.
struct Part {
    std::vector<FoundObject> objects;
    std::vector<std::uint64_t> named;
    std::vector<FoundLink> links;
    std::vector<Checksum> commits;
};

// The verified content; nullopt for an object that is gone by now. Throws Error(repository_damaged).
std::optional<std::string> read_metadata(const LooseObject& object) {
    const auto file = try_open_at(object.directory, object.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file) return std::nullopt;
    auto bytes = read_all(file.get(), max_metadata_bytes, object.name);
    if (sha256(bytes) != object.checksum) throw Error(ErrorKind::repository_damaged, "it is corrupt");
    return bytes;
}

void name_entries(const std::string& bytes, std::vector<std::uint64_t>& named) {
    const auto listing = parse_dirtree(bytes);
    for (const auto& file : listing.files) named.push_back(key_of(file.object, ObjectKind::file));
    for (const auto& directory : listing.directories) {
        named.push_back(key_of(directory.tree, ObjectKind::dirtree));
        named.push_back(key_of(directory.meta, ObjectKind::dirmeta));
    }
}

void name_parts(const std::string& bytes, const Checksum& checksum, std::vector<std::uint64_t>& named) {
    const auto commit = Repository::parse_commit(bytes, checksum);
    named.push_back(key_of(commit.tree, ObjectKind::dirtree));
    named.push_back(key_of(commit.meta, ObjectKind::dirmeta));
    if (commit.parent) named.push_back(key_of(*commit.parent, ObjectKind::commit));
}

void look_at(const LooseObject& object, Part& part) {
    struct stat status;
    if (::fstatat(object.directory, object.name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return;
        throw_errno("look at the object " + object.checksum.hex());
    }
    const auto kind = kind_of(object.type);
    FoundObject found{key_of(object.checksum, kind), static_cast<std::uint64_t>(status.st_blocks) * block_bytes,
                      part.named.size()};
    if (status.st_nlink > 1 && !S_ISDIR(status.st_mode)) {
        part.links.push_back({found.key, found.bytes, {status.st_dev, status.st_ino}, status.st_nlink});
        found.bytes = 0;
    }
    if (kind == ObjectKind::commit) {
        part.commits.push_back(object.checksum);
        part.named.push_back(key_of(object.checksum, ObjectKind::metadata));
        part.named.push_back(key_of(object.checksum, ObjectKind::compat_metadata));
    }
    if (kind == ObjectKind::commit || kind == ObjectKind::dirtree) {
        try {
            if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::repository_damaged, "it is no file");
            const auto bytes = read_metadata(object);
            if (!bytes) return part.named.resize(found.first);
            if (kind == ObjectKind::dirtree)
                name_entries(*bytes, part.named);
            else
                name_parts(*bytes, object.checksum, part.named);
        } catch (const Error& error) {
            if (is_system_failure(error)) throw;
            found.broken = true;
        }
    }
    found.count = part.named.size() - found.first;
    part.objects.push_back(found);
}

}  // namespace

class ObjectGraph::Reader {
public:
    Reader(const Repository& repository, const Cancellation& cancellation, WorkObserver& observer)
        : repository_(repository), cancellation_(cancellation), observer_(observer) {}

    ObjectGraph run() {
        look();
        for (unsigned i = 0; i < object_directories; ++i) add_keys(i);
        graph_.objects_ = graph_.keys_.size();
        add_shared_files();
        for (auto& part : parts_) add_names(part);
        // A node that is no object names nothing.
        graph_.first_.resize(graph_.bytes_.size() + 1, graph_.below_.size());
        std::sort(graph_.commits_.begin(), graph_.commits_.end());
        return std::move(graph_);
    }

private:
    void look() {
        std::mutex mutex;
        unsigned done = 0;
        for_each_object_directory(object_threads(), [&](unsigned number) {
            auto& part = parts_[number];
            visit_objects(repository_.objects(), number, [&](const LooseObject& object) {
                cancellation_.check();
                look_at(object, part);
            });
            std::sort(part.objects.begin(), part.objects.end(),
                      [](const auto& one, const auto& other) { return one.key < other.key; });
            const std::lock_guard lock(mutex);
            observer_.advance(++done, object_directories);
        });
    }

    void add_keys(unsigned number) {
        const auto& part = parts_[number];
        for (const auto& object : part.objects) {
            graph_.keys_.push_back(object.key);
            graph_.bytes_.push_back(object.bytes);
            graph_.broken_.push_back(object.broken);
        }
        graph_.commits_.insert(graph_.commits_.end(), part.commits.begin(), part.commits.end());
        graph_.directory_[number + 1] = graph_.keys_.size();
    }

    void add_shared_files() {
        struct File {
            Node node;
            nlink_t elsewhere;  // links that were not found among the objects
        };
        std::map<std::pair<dev_t, ino_t>, File> files;
        for (const auto& part : parts_) {
            for (const auto& link : part.links) {
                const auto next = static_cast<Node>(graph_.bytes_.size());
                const auto [file, is_new] = files.try_emplace(link.file, File{next, link.links});
                if (is_new) graph_.bytes_.push_back(link.bytes);
                --file->second.elsewhere;
                if (const auto node = graph_.find(link.key)) shared_file_.emplace(*node, file->second.node);
            }
        }
        graph_.broken_.resize(graph_.bytes_.size());
        graph_.linked_elsewhere_.resize(graph_.bytes_.size());
        for (const auto& [place, file] : files) graph_.linked_elsewhere_[file.node] = file.elsewhere > 0;
    }

    void add_names(Part& part) {
        for (const auto& object : part.objects) {
            const auto node = static_cast<Node>(graph_.first_.size());
            graph_.first_.push_back(graph_.below_.size());
            for (std::size_t i = object.first; i < object.first + object.count; ++i) {
                if (const auto found = graph_.find(part.named[i]))
                    graph_.below_.push_back(*found);
                else if (static_cast<ObjectKind>(part.named[i] & kind_bits) == ObjectKind::dirtree && !has_parent_)
                    graph_.broken_[node] = true;
            }
            if (const auto file = shared_file_.find(node); file != shared_file_.end())
                graph_.below_.push_back(file->second);
        }
        part = {};  // gives its memory back
    }

    const Repository& repository_;
    const Cancellation& cancellation_;
    WorkObserver& observer_;
    const bool has_parent_ = repository_.has_parent();
    std::array<Part, object_directories> parts_;
    std::map<Node, Node> shared_file_;  // of objects with several links
    ObjectGraph graph_;
};

ObjectGraph ObjectGraph::read(const Repository& repository, const Cancellation& cancellation, WorkObserver& observer) {
    return Reader(repository, cancellation, observer).run();
}

ObjectKind ObjectGraph::kind(Node node) const {
    return node < keys_.size() ? static_cast<ObjectKind>(keys_[node] & kind_bits) : ObjectKind::shared_file;
}

std::optional<ObjectGraph::Node> ObjectGraph::find(std::uint64_t key) const {
    const auto number = key >> 56;
    const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(directory_[number]),
               end = keys_.begin() + static_cast<std::ptrdiff_t>(directory_[number + 1]);
    const auto found = std::lower_bound(begin, end, key);
    if (found == end || *found != key) return std::nullopt;
    return static_cast<Node>(found - keys_.begin());
}

std::optional<ObjectGraph::Node> ObjectGraph::find_commit(const Checksum& commit) const {
    return find(key_of(commit, ObjectKind::commit));
}

}  // namespace imaged
