// SPDX-License-Identifier: Apache-2.0
#include "store/verify/damage-search.hpp"

#include "store/objects/tree-walk.hpp"

namespace imaged {

bool DamageSearch::add(const Checksum& commit, const std::optional<Digest>& layer, bool has_paths,
                       std::vector<FoundDamage>& found) {
    bool any_there = false;
    using Place = std::optional<std::string>;
    const auto note = [&](const std::string& object, const std::string& fault, const Place& path) {
        any_there |= fault != RepositoryCheck::missing;
        const auto [place, added] = places_.emplace(object, found.size());
        if (added)
            found.push_back({object, fault, layer, has_paths ? path : std::nullopt});
        else if (!found[place->second].path && has_paths)
            found[place->second].path = path;
    };
    const auto note_metadata = [&](const Checksum& checksum, ObjectType type, const Place& path) {
        const auto name = object_name(checksum, type);
        const auto bad = check_.bad_objects().find(name);
        if (bad == check_.bad_objects().end()) return false;
        note(name, bad->second, path);
        return true;
    };
    if (note_metadata(commit, ObjectType::commit, std::nullopt)) return any_there;
    const auto content = repository_.load_commit(commit);
    ChecksumSet seen;
    walk_tree(repository_, content, cancellation_,
              {.enter =
                   [&](const TreePlace& place) {
                       note_metadata(place.meta, ObjectType::dirmeta, "/" + place.path);
                       return seen.insert(place.tree) &&
                              !note_metadata(place.tree, ObjectType::dirtree, "/" + place.path);
                   },
               .list =
                   [&](const TreePlace& place, const DirectoryListing& listing) {
                       for (const auto& file : listing.files) {
                           if (const auto fault = check_.fault_of_file(file.object))
                               note(object_name(file.object, ObjectType::file), *fault, "/" + place.below(file.name));
                       }
                   }});
    return any_there;
}

}  // namespace imaged
