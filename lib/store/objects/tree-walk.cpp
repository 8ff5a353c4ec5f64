// SPDX-License-Identifier: Apache-2.0
#include "store/objects/tree-walk.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace imaged {

namespace {

class Walk {
public:
    Walk(const TreeReader& read, const TreeVisitor& visitor) : read_(read), visitor_(visitor) {}

    void run(const Checksum& tree, const Checksum& meta) {
        enter(tree, meta, 0);
        while (!open_.empty()) {
            auto& directory = open_.back();
            if (directory.next < directory.children.size()) {
                const auto child = std::move(directory.children[directory.next++]);
                const auto size = path_.size();
                if (!path_.empty()) path_ += '/';
                path_ += child.name;
                if (!enter(child.tree, child.meta, size)) path_.resize(size);
                continue;
            }
            if (visitor_.leave) visitor_.leave({directory.tree, directory.meta, path_, open_.size() - 1});
            path_.resize(directory.outer_path);
            open_.pop_back();
        }
    }

private:
    struct Open {
        Checksum tree, meta;
        std::size_t outer_path;  // bytes of the path of the directory above
        std::vector<DirectoryListing::Directory> children;
        std::size_t next = 0;
    };

    bool enter(const Checksum& tree, const Checksum& meta, std::size_t outer_path) {
        const TreePlace place{tree, meta, path_, open_.size()};
        if (visitor_.enter && !visitor_.enter(place)) return false;
        DirectoryListing listing;
        try {
            listing = parse_dirtree(read_(tree));
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled || !visitor_.unreadable) throw;
            visitor_.unreadable(place, error);
            return false;
        }
        if (visitor_.list) visitor_.list(place, listing);
        open_.push_back({tree, meta, outer_path, std::move(listing.directories)});
        return true;
    }

    const TreeReader& read_;
    const TreeVisitor& visitor_;
    std::vector<Open> open_;
    std::string path_;  // of the last of them
};

template <typename Entry>
const Entry* find_name(const std::vector<Entry>& entries, const std::string& name) {
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.name == name; });
    return found == entries.end() ? nullptr : &*found;
}

}  // namespace

void walk_tree(const TreeReader& read, const Checksum& tree, const Checksum& meta, const TreeVisitor& visitor) {
    Walk(read, visitor).run(tree, meta);
}

void walk_tree(const Repository& repository, const Repository::Commit& commit, const Cancellation& cancellation,
               const TreeVisitor& visitor) {
    const TreeReader read = [&](const Checksum& tree) {
        cancellation.check();
        return repository.require_metadata(ObjectType::dirtree, tree);
    };
    walk_tree(read, commit.tree, commit.meta, visitor);
}

DirectoryListing read_directory(const Repository& repository, const Checksum& tree) {
    return parse_dirtree(repository.require_metadata(ObjectType::dirtree, tree));
}

std::optional<std::string> read_text(const Repository& repository, const Checksum& root, const std::string& path,
                                     std::size_t limit) {
    const auto names = split_path(path);
    auto tree = root;
    for (std::size_t depth = 0;; ++depth) {
        const auto bytes = repository.load_metadata(ObjectType::dirtree, tree);
        if (!bytes) return std::nullopt;
        const auto listing = parse_dirtree(*bytes);
        if (depth + 1 == names.size()) {
            const auto* const file = find_name(listing.files, names[depth]);
            return file == nullptr ? std::nullopt : repository.read_text(file->object, limit);
        }
        const auto* const directory = find_name(listing.directories, names[depth]);
        if (directory == nullptr) return std::nullopt;
        tree = directory->tree;
    }
}

}  // namespace imaged
