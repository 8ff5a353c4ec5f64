// SPDX-License-Identifier: Apache-2.0
#include "store/records/kept-versions.hpp"

#include <set>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

std::optional<StoredImage> load(const Repository& repository, const Checksum& commit) {
    try {
        return StoredImage::load(repository, commit, true);
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        return std::nullopt;
    }
}

}  // namespace

std::vector<KeptVersion> kept_versions(const Repository& repository, const std::string& image_ref) {
    std::vector<KeptVersion> versions;
    const auto refs = kept_refs(repository.fd(), image_ref);
    if (refs.empty()) return versions;
    std::set<Digest> seen;
    if (const auto commit = repository.resolve(image_ref)) {
        if (const auto current = load(repository, *commit)) seen.insert(current->digest);
    }
    for (const auto& kept : refs) {
        auto image = load(repository, kept.commit);
        if (image && seen.insert(image->digest).second) versions.push_back({kept.ref, *std::move(image)});
    }
    return versions;
}

std::map<std::string, Checksum> surplus_versions(const Repository& repository, unsigned keep) {
    std::map<std::string, Checksum> surplus;
    std::set<std::string> images;
    for (const auto& [ref, commit] : repository.refs(kept_ref_directory)) {
        const auto kept = parse_kept_ref(ref);
        if (!kept) continue;
        surplus.emplace(ref, commit);
        if (repository.resolve(kept->first)) images.insert(kept->first);
    }
    for (const auto& image : images) {
        const auto versions = kept_versions(repository, image);
        for (std::size_t i = 0; i < versions.size() && i < keep; ++i) surplus.erase(versions[i].ref);
    }
    if (surplus.empty()) return surplus;
    for (const auto& [alias, target] : repository.aliases()) surplus.erase(target);
    return surplus;
}

}  // namespace imaged
