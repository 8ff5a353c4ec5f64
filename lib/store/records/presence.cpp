// SPDX-License-Identifier: Apache-2.0
#include "store/records/presence.hpp"

#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "store/objects/tree-walk.hpp"

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
        require_tree(content);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled || is_system_failure(error)) throw;
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

void Presence::require_tree(const Repository::Commit& commit) {
    const auto require = [](bool present) {
        if (!present) throw Error(ErrorKind::repository_damaged, "an object of the commit is missing");
    };
    std::unordered_set<Checksum> found;
    walk_tree(repository_, commit, cancellation_,
              {.enter =
                   [&](const TreePlace& place) {
                       require(meta_present(place.meta));
                       return !trees_.contains(place.tree) && found.insert(place.tree).second;
                   },
               .list =
                   [&](const TreePlace&, const DirectoryListing& listing) {
                       for (const auto& file : listing.files) require(has_file(file.object));
                   }});
    trees_.merge(found);
}

}  // namespace imaged
