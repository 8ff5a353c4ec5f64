// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/file-comparison.hpp"

#include "store/tree/tree-store.hpp"

namespace imaged {

namespace {

// As much of a merged tree's names as an answer may hold.
constexpr std::size_t max_diff_bytes = 4 * 1024 * 1024;
// Deeper than any path may be that somebody can open; bounds the recursion.
constexpr int max_diff_depth = 2048;

// Two trees side by side; what they share is not looked at.
class FileComparison {
public:
    explicit FileComparison(const Repository& repository) : repository_(repository) {}

    void compare(const std::string& path, const Checksum& from, const Checksum& to, int depth = 0) {
        if (too_deep(depth)) return;
        const auto before = entries(from), after = entries(to);
        for (const auto& [name, entry] : before) {
            if (full()) return;
            const auto below = path + "/" + name;
            const auto found = after.find(name);
            if (found == after.end()) {
                add_all(changes.removed, below, entry);
            } else if (found->second.directory != entry.directory) {
                add(changes.changed, below);
                if (entry.directory) add_below(changes.removed, below, entry.object);
                if (found->second.directory) add_below(changes.added, below, found->second.object);
            } else if (!entry.directory) {
                if (entry.object != found->second.object) add(changes.changed, below);
            } else {
                if (entry.meta != found->second.meta) add(changes.changed, below);
                if (entry.object != found->second.object) compare(below, entry.object, found->second.object, depth + 1);
            }
        }
        for (const auto& [name, entry] : after) {
            if (full()) return;
            if (!before.contains(name)) add_all(changes.added, path + "/" + name, entry);
        }
    }

    void add_below(std::vector<std::string>& list, const std::string& path, const Checksum& tree, int depth = 0) {
        if (too_deep(depth)) return;
        for (const auto& [name, entry] : entries(tree)) {
            if (full()) return;
            add_all(list, path + "/" + name, entry, depth + 1);
        }
    }

    FileChanges changes;

private:
    Directory entries(const Checksum& tree) const {
        return parse_directory(repository_.require_metadata(ObjectType::dirtree, tree));
    }

    bool full() const { return changes.truncated; }
    bool too_deep(int depth) {
        if (depth > max_diff_depth) changes.truncated = true;
        return changes.truncated;
    }
    void add(std::vector<std::string>& list, const std::string& path) {
        if (paths_ == max_diff_paths || bytes_ + path.size() > max_diff_bytes) {
            changes.truncated = true;
            return;
        }
        ++paths_;
        bytes_ += path.size();
        list.push_back(path);
    }
    void add_all(std::vector<std::string>& list, const std::string& path, const TreeEntry& entry, int depth = 0) {
        add(list, path);
        if (entry.directory) add_below(list, path, entry.object, depth);
    }

    const Repository& repository_;
    std::size_t paths_ = 0, bytes_ = 0;
};

}  // namespace

FileChanges compare_files(const Repository& repository, const std::string& prefix, const std::optional<Checksum>& from,
                          const std::optional<Checksum>& to) {
    FileComparison comparison(repository);
    if (from && to) {
        comparison.compare(prefix, *from, *to);
    } else if (from) {
        comparison.add_below(comparison.changes.removed, prefix, *from);
    } else if (to) {
        comparison.add_below(comparison.changes.added, prefix, *to);
    }
    return std::move(comparison.changes);
}

}  // namespace imaged
