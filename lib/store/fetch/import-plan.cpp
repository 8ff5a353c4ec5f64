// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/import-plan.hpp"

#include <map>
#include <set>

#include "base/error.hpp"
#include "store/files/moved-var.hpp"
#include "store/files/ref-name.hpp"
#include "store/objects/tree-walk.hpp"
#include "store/records/layer-ref.hpp"
#include "store/tree/root-policy.hpp"

namespace imaged {

namespace {

// Whether the stored image is SOURCE's, complete, and made of the layers that PLAN found.
bool is_current(const Repository& repository, Presence& presence, const SourceImage& source, const ImportPlan& plan) {
    if (!plan.previous || plan.previous->digest != source.digest) return false;
    for (std::size_t i = 0; i < plan.present.size(); ++i) {
        if (layer_target(repository, source.layout.layers[i]).commit != plan.present[i]) return false;
    }
    // A merge that says to be this program's and is not recorded may have been made of layers that are not believed.
    if (plan.previous->importer.starts_with(own_importer) &&
        !VerifiedLayers(repository.fd()).has_image(source.digest, plan.previous->merge_commit))
        return false;
    return presence.complete(plan.previous->merge_commit) &&
           (!plan.previous->base_commit || presence.complete(*plan.previous->base_commit));
}

}  // namespace

DerivedLayerRules derived_layer_rules(const Repository* repository, const std::optional<Checksum>& base_tree) {
    DerivedLayerRules rules;
    rules.mapping.move_var = moves_var();
    if (!base_tree) return rules;
    rules.root = root_policy([&](const std::string& path) {
        // A commit has /etc as usr/etc.
        const auto stored = path.starts_with("etc/") ? "usr/" + path : path;
        return read_text(*repository, *base_tree, stored, max_prepare_root_bytes);
    });
    return rules;
}

void look_ahead(const Repository& repository, Presence& presence, const ImageReference& target) {
    try {
        const auto commit = repository.resolve(image_ref(target)).commit;
        if (!commit) return;
        const auto image = StoredImage::load(repository, *commit);
        const VerifiedLayers verified(repository.fd());
        for (const auto& layer : image.layout.layers) {
            if (const auto stored = placed_layer(repository, verified, layer).target.commit) presence.complete(*stored);
        }
        presence.complete(*commit);
        if (image.base_commit) presence.complete(*image.base_commit);
    } catch (const Error&) {
        // Ignore the error: the import reads it again and reports it.
    }
}

ImportPlan ImportPlan::make(const Repository* repository, Presence* presence, const SourceImage& source,
                            const ImageReference& target, LayerTrust trust) {
    ImportPlan plan;
    const auto& layers = source.layout.layers;
    plan.present.resize(layers.size());
    std::set<Digest> counted;
    const auto count = [&] {
        for (std::size_t i = 0; i < layers.size(); ++i) {
            if (!counted.insert(layers[i].blob.digest).second) continue;
            (plan.present[i] ? plan.present_bytes : plan.missing_bytes) += layers[i].blob.size;
            if (!plan.present[i]) ++plan.missing;
        }
        plan.bytes_to_fetch = plan.missing_bytes;
    };
    if (repository == nullptr) {
        count();
        return plan;
    }

    plan.previous = StoredImage::load_if_whole(*repository, repository->resolve(image_ref(target)).commit);
    if (plan.previous) plan.previous_digest = plan.previous->digest;
    std::optional<Checksum> base_tree;
    if (source.layout.ostree) {
        const auto base = LayerLookup(*repository, *presence, {}, trust).find(layers.front());
        if (base) base_tree = repository->load_commit(*base).tree;
    }
    auto rules = derived_layer_rules(repository, base_tree);
    if (source.layout.ostree && !base_tree) rules.root = RootPolicy::usr_etc_var;
    const LayerLookup lookup(*repository, *presence, rules, trust);
    std::map<Digest, std::optional<Checksum>> looked_up;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        auto found = looked_up.find(layers[i].blob.digest);
        if (found == looked_up.end()) found = looked_up.emplace(layers[i].blob.digest, lookup.find(layers[i])).first;
        plan.present[i] = found->second;
    }
    count();
    plan.up_to_date = plan.missing == 0 && is_current(*repository, *presence, source, plan);
    return plan;
}

}  // namespace imaged
