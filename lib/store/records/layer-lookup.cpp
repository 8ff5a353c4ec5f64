// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-lookup.hpp"

#include "base/error.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/layer-record.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/detached-metadata.hpp"

namespace imaged {

std::optional<Checksum> LayerLookup::find(const ImageLayer& layer) const {
    const auto [place, target] = placed_layer(repository_, verified_, layer);
    const auto& commit = target.commit;
    if (commit && presence_.complete(*commit)) {
        if (serves(layer, *commit, place)) return commit;
        if (other_content(layer, *commit)) return std::nullopt;
    }
    if (layer.kind != LayerKind::derived) return std::nullopt;
    const auto recorded = verified_.layer(layer.kind, layer.diff_id);
    return recorded && presence_.complete(*recorded) && serves(layer, *recorded, {}) ? recorded : std::nullopt;
}

std::optional<Digest> LayerLookup::other_content(const ImageLayer& layer, const Checksum& commit) const {
    if (layer.kind != LayerKind::derived) return std::nullopt;
    const auto claimed = LayerRecord::read(repository_.load_commit(commit)).diff_id;
    if (!claimed || claimed == layer.diff_id || verified_.layer(LayerKind::derived, *claimed) != commit)
        return std::nullopt;
    return claimed;
}

bool LayerLookup::serves(const ImageLayer& layer, const Checksum& checksum, const std::string& place) const {
    const auto commit = repository_.load_commit(checksum);
    const auto claims = LayerRecord::read(commit);
    const auto recorded = verified_.layer(layer.kind, layer.diff_id);
    if (recorded == checksum) return layer.kind != LayerKind::derived || claims.fits(rules_);
    if (const auto other = other_content(layer, checksum)) {
        if (verified_.goes_with_blob(*other, layer.blob.digest))
            throw Error(ErrorKind::digest_mismatch, "layer " + layer.blob.digest.text() +
                                                        ": its uncompressed content has the digest " + other->text() +
                                                        ", the config says " + layer.diff_id.text());
        return false;
    }
    // No other program's, and made of a blob of which nobody knows what it holds.
    if (place == objects_ref(layer.blob.digest)) return false;
    // What says that this program imported it, and was not, serves nobody: neither its content nor what it says of
    // itself is known to be right.
    if (trust_ == LayerTrust::verified_only || LayerRecord::claims_anything(commit)) return false;
    // If this program verified the content, the commit that it became is known: a ref that names another one was set
    // by a job that did not fetch this layer, or by somebody who may write to the repository.
    if (recorded && repository_.has_object(ObjectType::commit, *recorded)) return false;
    // Nor does what a copy brought: its ref is the word of a repository that this one's administrator may not write.
    if (is_copied(repository_, checksum)) return false;
    // Another program's; of those only derived layers say that they were imported.
    const bool derived = commit.text(importer_version_key).has_value();
    return derived == (layer.kind == LayerKind::derived) && (!derived || claims.fits(rules_));
}

}  // namespace imaged
