// SPDX-License-Identifier: Apache-2.0
#include "store/records/presence.hpp"

#include <vector>

#include "base/error.hpp"
#include "layer/dirtree.hpp"

namespace imaged {

Presence::Presence(const Repository& repository, const Cancellation& cancellation)
    : repository_(repository),
      cancellation_(cancellation),
      record_(repository),
      names_(repository.objects(), repository.file_suffix()) {}

bool Presence::has_file(const Checksum& file) {
    // What is not there under its own name may be in a parent repository.
    return names_.has_file(file) || repository_.has_object(ObjectType::file, file);
}

bool Presence::complete(const Checksum& commit) {
    if (commits_.contains(commit)) return true;
    if (record_.holds(commit)) {
        commits_.insert(commit);
        return true;
    }
    try {
        const auto content = repository_.load_commit(commit);
        if (!meta_present(content.meta) || !tree_complete(content.tree)) return false;
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        return false;
    }
    commits_.insert(commit);
    return true;
}

bool Presence::meta_present(const Checksum& meta) {
    if (metas_.contains(meta)) return true;
    if (!repository_.has_object(ObjectType::dirmeta, meta)) return false;
    metas_.insert(meta);
    return true;
}

bool Presence::tree_complete(const Checksum& root) {
    // Without recursion: the depth of a foreign tree has no limit.
    std::vector<Checksum> rest{root};
    std::unordered_set<Checksum> found;
    while (!rest.empty()) {
        cancellation_.check();
        const auto tree = rest.back();
        rest.pop_back();
        if (trees_.contains(tree) || !found.insert(tree).second) continue;
        const auto bytes = repository_.load_metadata(ObjectType::dirtree, tree);
        if (!bytes) return false;
        const auto listing = parse_dirtree(*bytes);
        for (const auto& file : listing.files) {
            if (!has_file(file.object)) return false;
        }
        for (const auto& directory : listing.directories) {
            if (!meta_present(directory.meta)) return false;
            rest.push_back(directory.tree);
        }
    }
    trees_.merge(found);
    return true;
}

}  // namespace imaged
