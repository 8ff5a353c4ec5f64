// SPDX-License-Identifier: Apache-2.0
#include "store/records/kept-versions.hpp"

#include <set>
#include <utility>

#include "base/system-failure.hpp"
#include "store/files/ref-name.hpp"

namespace imaged {

KeptVersions find_kept_versions(const Repository& repository, const std::string& image_ref) {
    KeptVersions found;
    UnreadableRefs unreadable;
    const auto refs = kept_refs(repository.fd(), image_ref, &unreadable);
    for (const auto& [ref, error] : unreadable) found.broken.push_back({ref, error});
    if (refs.empty()) return found;
    std::set<Digest> seen;
    if (const auto commit = repository.resolve(image_ref).commit) {
        try {
            seen.insert(StoredImage::load(repository, commit, true).digest);
        } catch (const Error& error) {
            if (is_shortage(error)) throw;
        }
    }
    for (const auto& kept : refs) {
        try {
            auto image = StoredImage::load(repository, kept.commit, true);
            if (seen.insert(image.digest).second) found.whole.push_back({kept.ref, std::move(image)});
        } catch (const Error& error) {
            if (is_shortage(error)) throw;
            found.broken.push_back({kept.ref, error});
        }
    }
    return found;
}

std::vector<KeptVersion> kept_versions(const Repository& repository, const std::string& image_ref) {
    auto found = find_kept_versions(repository, image_ref);
    for (const auto& version : found.broken) {
        if (is_system_failure(version.error)) throw version.error;
    }
    return std::move(found.whole);
}

KeptVersion choose_kept_version(const Repository& repository, const ImageReference& image,
                                const std::optional<std::string>& digest, const std::optional<Digest>& current) {
    const auto name = image.image();
    auto versions = kept_versions(repository, image_ref(image));
    if (versions.empty()) throw Error(ErrorKind::not_found, "no other version of " + name + " is kept");
    if (!digest) return std::move(versions.front());
    std::string digests;
    for (const auto& version : versions) digests += (digests.empty() ? "" : ", ") + version.image.digest.text();
    std::erase_if(versions, [&](const auto& version) { return !begins_with(version.image.digest, *digest); });
    if (versions.size() == 1) return std::move(versions.front());
    if (!versions.empty())
        throw Error(ErrorKind::invalid_argument,
                    "several versions of " + name + " have a digest that begins with " + *digest);
    const bool is_current = current && begins_with(*current, *digest);
    throw Error(
        ErrorKind::not_found,
        *digest + (is_current ? " is the current version of " + name : " is no version of " + name + " that is kept") +
            "; those that are kept: " + digests);
}

Refs surplus_versions(const Repository& repository, unsigned keep) {
    Refs surplus;
    std::set<std::string> images;
    for (const auto& [ref, commit] : repository.refs(kept_ref_directory)) {
        const auto kept = parse_kept_ref(ref);
        if (!kept) continue;
        surplus.emplace(ref, commit);
        if (repository.resolve(kept->first).exists) images.insert(kept->first);
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
