// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/deployments.hpp"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/image-reference.hpp"
#include "store/catalog/deployment-listing.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

using nlohmann::json;

namespace {

constexpr const char* version_key = "version";

using Names = std::map<Checksum, std::vector<std::string>>;

// The names of the images of a repository, and of those that have versions kept, by merge commit; and merge commits by
// the base commit of images that are nothing else.
class StoredNames {
public:
    explicit StoredNames(const std::string& path) : repository_(Repository::open_existing(path)) {
        if (!repository_) return;
        for (const auto& [ref, commit] : whole(repository_->refs(image_ref_directory)))
            current_[commit].push_back(image_of_ref(ref));
        for (const auto& [ref, commit] : whole(repository_->refs(kept_ref_directory)))
            if (const auto kept = parse_kept_ref(ref)) kept_[commit].push_back(image_of_ref(kept->first));
    }

    std::vector<std::string> current(const Checksum& commit) const { return of(current_, commit); }
    std::vector<std::string> kept(const Checksum& commit) const { return of(kept_, commit); }

    // The merge commit of the image that COMMIT is all of.
    std::optional<Checksum> merge_of_base(const Checksum& commit) {
        if (!by_base_) by_base_ = find_bases();
        const auto found = by_base_->find(commit);
        return found == by_base_->end() ? std::nullopt : std::optional(found->second);
    }

    const std::optional<Repository>& repository() const { return repository_; }

private:
    static std::vector<std::string> of(const Names& names, const Checksum& commit) {
        const auto found = names.find(commit);
        return found == names.end() ? std::vector<std::string>() : found->second;
    }

    std::map<Checksum, Checksum> find_bases() const {
        std::map<Checksum, Checksum> bases;
        for (const auto* const all : {&current_, &kept_}) {
            for (const auto& [merge, names] : *all) {
                try {
                    const auto image = StoredImage::load(*repository_, merge);
                    if (image.deployable() != merge) bases.emplace(image.deployable(), merge);
                } catch (const Error&) {
                    // ListImages reports a damaged image.
                }
            }
        }
        return bases;
    }

    std::optional<Repository> repository_;
    Names current_, kept_;
    std::optional<std::map<Checksum, Checksum>> by_base_;
};

std::string version_of(const Repository& repository, const Checksum& merge) {
    try {
        return StoredImage::load(repository, merge, true).config.version().value_or("");
    } catch (const Error&) {
        return {};  // of an image whose layers went
    }
}

void add_image(json& entry, const Repository& repository, const Checksum& merge, StoredNames& stored) {
    entry["merge-commit"] = merge.hex();
    if (const auto digest = repository.load_commit(merge).text(manifest_digest_key)) entry["digest"] = *digest;
    entry["stored-as"] = stored.current(merge);
    entry["kept-of"] = stored.kept(merge);
    if (const auto version = version_of(repository, merge); !version.empty()) entry["version"] = version;
}

// What the deployed commit says of itself.
void add_commit(json& entry, const Repository& repository, const Checksum& checksum, StoredNames& stored) {
    const auto commit = repository.load_commit(checksum);
    if (const auto version = commit.text(version_key)) entry["version"] = *version;
    if (commit.text(manifest_digest_key)) return add_image(entry, repository, checksum, stored);
    // Made on the host, with packages on top of what was pulled.
    if (commit.parent && repository.has_object(ObjectType::commit, *commit.parent) &&
        repository.load_commit(*commit.parent).text(manifest_digest_key))
        return add_image(entry, repository, *commit.parent, stored);
    if (const auto merge = stored.merge_of_base(checksum)) add_image(entry, *stored.repository(), *merge, stored);
}

json describe(const FoundDeployment& found) {
    json entry{{"stateroot", found.stateroot}, {"checksum", found.checksum}, {"serial", found.serial},
               {"booted", found.booted},       {"pending", found.pending},   {"rollback", found.rollback},
               {"staged", found.staged},       {"pinned", found.pinned}};
    if (found.refspec) entry["refspec"] = *found.refspec;
    auto error = found.error;
    if (found.image_reference) {
        entry["reference"] = *found.image_reference;
        try {
            entry["image"] = ImageReference::parse(*found.image_reference).image();
        } catch (const Error& cause) {
            error = std::string("its origin file: ") + cause.what();
        }
    }
    if (!error.empty()) entry["error"] = error;
    return entry;
}

}  // namespace

json list_deployments(const std::string& sysroot, const std::string& repository) {
    auto list = json::array();
    const auto deployments = find_deployments(sysroot);
    if (deployments.empty()) return list;
    const Repository deployed(sysroot + "/ostree/repo");
    StoredNames stored(repository);
    for (const auto& found : deployments) {
        auto entry = describe(found);
        try {
            const auto checksum = Checksum::from_hex(found.checksum);
            if (checksum) add_commit(entry, deployed, *checksum, stored);
        } catch (const Error& error) {
            if (!entry.contains("error")) entry["error"] = error.what();
        }
        list.push_back(std::move(entry));
    }
    return list;
}

}  // namespace imaged
