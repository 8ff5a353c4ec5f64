// SPDX-License-Identifier: Apache-2.0
#include "store/verify/damage-search.hpp"

#include "base/error.hpp"
#include "layer/dirtree.hpp"

namespace imaged {

void DamageSearch::add(const Checksum& commit, const std::string& layer, bool has_paths,
                       std::vector<FoundDamage>& found) {
    const auto note = [&](const std::string& object, const std::string& fault, const std::string& path) {
        const auto [place, added] = places_.emplace(object, found.size());
        if (added)
            found.push_back({object, fault, layer, has_paths ? path : ""});
        else if (found[place->second].path.empty() && has_paths)
            found[place->second].path = path;
    };
    const auto note_metadata = [&](const Checksum& checksum, ObjectType type, const std::string& path) {
        const auto name = object_name(checksum, type);
        const auto bad = check_.bad_objects().find(name);
        if (bad == check_.bad_objects().end()) return false;
        note(name, bad->second, path);
        return true;
    };
    if (note_metadata(commit, ObjectType::commit, "")) return;
    const auto content = repository_.load_commit(commit);
    note_metadata(content.meta, ObjectType::dirmeta, "/");
    ChecksumSet seen;
    std::vector<std::pair<Checksum, std::string>> rest{{content.tree, ""}};
    while (!rest.empty()) {
        cancellation_.check();
        const auto [tree, path] = std::move(rest.back());
        rest.pop_back();
        if (!seen.insert(tree) || note_metadata(tree, ObjectType::dirtree, path.empty() ? "/" : path)) continue;
        const auto bytes = repository_.load_metadata(ObjectType::dirtree, tree);
        if (!bytes) continue;
        const auto listing = parse_dirtree(*bytes);
        for (const auto& file : listing.files) {
            if (const auto fault = check_.fault_of_file(file.object))
                note(object_name(file.object, ObjectType::file), *fault, path + "/" + file.name);
        }
        for (const auto& directory : listing.directories) {
            auto below = path + "/" + directory.name;
            note_metadata(directory.meta, ObjectType::dirmeta, below);
            rest.emplace_back(directory.tree, std::move(below));
        }
    }
}

}  // namespace imaged
