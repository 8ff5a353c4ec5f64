// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-ref.hpp"

#include "base/error.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

namespace {

// Whether COMMIT, which the ref of LAYER's blob names, is a derived layer. One that cannot be read, or that was made of
// another content, is what is asked for: it has to be replaced.
bool is_derived(const Repository& repository, const VerifiedLayers& verified, const ImageLayer& layer,
                const Checksum& commit) {
    for (const auto kind : {LayerKind::derived, LayerKind::chunk, LayerKind::commit}) {
        if (verified.layer(kind, layer.diff_id) == commit) return kind == LayerKind::derived;
    }
    const bool wanted = layer.kind == LayerKind::derived;
    bool derived = wanted;
    try {
        derived = repository.load_commit(commit).text(importer_version_key).has_value();
    } catch (const Error&) {
    }
    // Reads all records, so only if the answer depends on it.
    return derived != wanted && verified.is_other_content(commit, layer.diff_id) ? wanted : derived;
}

}  // namespace

std::string blob_of_ref(const std::string& ref) {
    return unescape_ref(std::string_view(ref).substr(ref.rfind('/') + 1)).value_or(ref);
}

std::string own_ref(const ImageLayer& layer) {
    return layer.kind == LayerKind::derived ? derived_ref(layer.blob.digest) : objects_ref(layer.blob.digest);
}

PlacedLayer placed_layer(const Repository& repository, const VerifiedLayers& verified, const ImageLayer& layer) {
    auto own = own_ref(layer);
    if (const auto target = repository.resolve(own); target.exists) return {std::move(own), target};
    auto shared = layer_ref(layer.blob.digest);
    const auto target = repository.resolve(shared);
    if (layer.kind == LayerKind::derived && target.commit && !is_derived(repository, verified, layer, *target.commit))
        return {std::move(own), {}};
    return {std::move(shared), target};
}

std::string ref_of_layer(const Repository& repository, const ImageLayer& layer) {
    return placed_layer(repository, VerifiedLayers(repository.fd()), layer).ref;
}

RefTarget layer_target(const Repository& repository, const ImageLayer& layer) {
    return placed_layer(repository, VerifiedLayers(repository.fd()), layer).target;
}

std::vector<Checksum> layer_commits(const Repository& repository, const ImageLayout& layout) {
    const VerifiedLayers verified(repository.fd());
    std::vector<Checksum> commits;
    for (const auto& layer : layout.layers) {
        const auto commit = placed_layer(repository, verified, layer).target.commit;
        if (!commit) throw Error(ErrorKind::repository_damaged, "layer " + layer.blob.digest.text() + " is missing");
        commits.push_back(*commit);
    }
    return commits;
}

bool is_of_kind(const Repository& repository, const ImageLayer& layer, const Checksum& commit) {
    const VerifiedLayers verified(repository.fd());
    return is_derived(repository, verified, layer, commit) == (layer.kind == LayerKind::derived);
}

std::map<std::string, Checksum> refs_for(const Repository& repository, const ImageLayer& layer,
                                         const Checksum& commit) {
    const VerifiedLayers verified(repository.fd());
    const auto placed = placed_layer(repository, verified, layer);
    if (!placed.target.exists && verified.is_of_unseen_blob(layer, commit)) return {{own_ref(layer), commit}};
    std::map<std::string, Checksum> refs{{placed.ref, commit}};
    if (layer.kind == LayerKind::derived || refs.contains(own_ref(layer))) return refs;
    const auto before = repository.resolve(layer_ref(layer.blob.digest)).commit;
    if (before && before != commit && is_derived(repository, verified, layer, *before))
        refs.emplace(derived_ref(layer.blob.digest), *before);
    return refs;
}

}  // namespace imaged
