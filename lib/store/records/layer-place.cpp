// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-place.hpp"

#include "base/error.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/ref-name.hpp"
#include "store/repository/verified-layers.hpp"

namespace imaged {

namespace {

// Whether COMMIT, which the ref of LAYER's blob names, is a derived layer. One that cannot be read, or that was made of
// another content, is what is asked for: it has to be replaced.
bool is_derived(const Repository& repository, const ImageLayer& layer, const Checksum& commit) {
    const VerifiedLayers verified(repository.fd());
    for (const auto kind : {LayerKind::derived, LayerKind::chunk, LayerKind::commit}) {
        if (verified.layer(kind, layer.diff_id) == commit) return kind == LayerKind::derived;
    }
    const bool wanted = layer.kind == LayerKind::derived;
    bool derived = wanted;
    try {
        derived = repository.load_commit(commit).text(importer_version_key).has_value();
    } catch (const Error&) {
    }
    // Reads all records, so only where the answer depends on it.
    return derived != wanted && verified.is_other_content(commit, layer.diff_id) ? wanted : derived;
}

}  // namespace

std::string blob_of_ref(const std::string& ref) {
    return unescape_ref(std::string_view(ref).substr(ref.rfind('/') + 1)).value_or(ref);
}

std::string own_ref(const ImageLayer& layer) {
    return layer.kind == LayerKind::derived ? derived_ref(layer.blob.digest) : objects_ref(layer.blob.digest);
}

std::string place_of(const Repository& repository, const ImageLayer& layer) {
    const auto shared = layer_ref(layer.blob.digest), own = own_ref(layer);
    if (repository.resolve(own)) return own;
    if (layer.kind != LayerKind::derived) return shared;
    const auto commit = repository.resolve(shared);
    return commit && !is_derived(repository, layer, *commit) ? own : shared;
}

std::optional<Checksum> layer_commit(const Repository& repository, const ImageLayer& layer) {
    return repository.resolve(place_of(repository, layer));
}

std::vector<Checksum> layer_commits(const Repository& repository, const ImageLayout& layout) {
    std::vector<Checksum> commits;
    for (const auto& layer : layout.layers) {
        const auto commit = layer_commit(repository, layer);
        if (!commit) throw Error(ErrorKind::repository_damaged, "layer " + layer.blob.digest.text() + " is missing");
        commits.push_back(*commit);
    }
    return commits;
}

bool is_of_kind(const Repository& repository, const ImageLayer& layer, const Checksum& commit) {
    return is_derived(repository, layer, commit) == (layer.kind == LayerKind::derived);
}

std::map<std::string, Checksum> refs_for(const Repository& repository, const ImageLayer& layer,
                                         const Checksum& commit) {
    std::map<std::string, Checksum> refs{{place_of(repository, layer), commit}};
    if (layer.kind == LayerKind::derived || refs.contains(own_ref(layer))) return refs;
    const auto before = repository.resolve(layer_ref(layer.blob.digest));
    if (before && *before != commit && is_derived(repository, layer, *before))
        refs.emplace(derived_ref(layer.blob.digest), *before);
    return refs;
}

}  // namespace imaged
