// SPDX-License-Identifier: Apache-2.0
#include "store/import-plan.hpp"

#include <ostree.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"
#include "store/layer-record.hpp"
#include "store/ref-name.hpp"
#include "store/root-policy.hpp"

namespace imaged {

namespace {

class LayerLookup {
public:
    LayerLookup(const Repository& repository, Presence& presence, const DerivedLayerRules& rules)
        : repository_(repository), presence_(presence), rules_(rules) {}

    std::optional<Checksum> find(const ImageLayer& layer) {
        if (const auto commit = repository_.resolve(layer_ref(layer.blob.digest));
            commit && presence_.complete(*commit) && serves(layer, *commit))
            return commit;
        if (layer.kind != LayerKind::derived) return std::nullopt;
        const auto found = by_diff_id().find(layer.diff_id);
        if (found != by_diff_id().end() && presence_.complete(found->second) && serves(layer, found->second))
            return found->second;
        return std::nullopt;
    }

private:
    bool serves(const ImageLayer& layer, const Checksum& checksum) const {
        const auto commit = repository_.load_commit(checksum);
        // Only derived layers say who imported them.
        const bool derived = commit.text(importer_version_key).has_value();
        if (derived != (layer.kind == LayerKind::derived)) return false;
        if (!derived) return true;
        const auto record = LayerRecord::read(commit);
        if (record.diff_id && *record.diff_id != layer.diff_id)
            throw Error(ErrorKind::digest_mismatch,
                        "layer " + layer.blob.digest.text() + ": its uncompressed content has the digest " +
                            record.diff_id->text() + ", the config says " + layer.diff_id.text());
        return record.fits(rules_);
    }

    // Verified diff-ids of the layers that are here; what another program imported has none.
    const std::map<Digest, Checksum>& by_diff_id() {
        if (by_diff_id_) return *by_diff_id_;
        by_diff_id_.emplace();
        for (const auto& [ref, checksum] :
             repository_.refs(std::string(layer_ref_prefix.substr(0, layer_ref_prefix.size() - 1)))) {
            try {
                if (const auto record = LayerRecord::read(repository_.load_commit(checksum)); record.diff_id)
                    by_diff_id_->emplace(*record.diff_id, checksum);
            } catch (const Error&) {
                // A damaged layer serves nobody, and stops nobody.
            }
        }
        return *by_diff_id_;
    }

    const Repository& repository_;
    Presence& presence_;
    const DerivedLayerRules& rules_;
    std::optional<std::map<Digest, Checksum>> by_diff_id_;
};

}  // namespace

DerivedLayerRules derived_layer_rules(const Repository* repository, const std::optional<Checksum>& base_tree) {
    DerivedLayerRules rules;
    // From this version on, OSTree fills an empty /var from the commit's at the first boot of a deployment.
    rules.mapping.move_var = ostree_check_version(2024, 3) == FALSE;
    if (!base_tree) return rules;
    rules.root = root_policy([&](const std::string& path) {
        // A commit has /etc as usr/etc.
        const auto stored = path.starts_with("etc/") ? "usr/" + path : path;
        return repository->read_text(*base_tree, stored, max_prepare_root_bytes);
    });
    return rules;
}

void look_ahead(const Repository& repository, Presence& presence, const ImageReference& target) {
    try {
        const auto commit = repository.resolve(image_ref(target));
        if (!commit) return;
        const auto image = StoredImage::load(repository, *commit);
        for (const auto& layer : image.layout.layers) {
            if (const auto layer_commit = repository.resolve(layer_ref(layer.blob.digest)))
                presence.complete(*layer_commit);
        }
        presence.complete(*commit);
        if (image.base_commit) presence.complete(*image.base_commit);
    } catch (const Error&) {
        // Whoever needs it will look again, and say what is wrong.
    }
}

ImportPlan ImportPlan::make(const Repository* repository, Presence* presence, const SourceImage& source,
                            const ImageReference& target) {
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
    };
    if (repository == nullptr) {
        count();
        return plan;
    }

    if (const auto commit = repository->resolve(image_ref(target))) {
        try {
            plan.previous = StoredImage::load(*repository, *commit);
            plan.previous_digest = plan.previous->digest.text();
        } catch (const Error&) {
            // A damaged image is replaced.
        }
    }
    std::optional<Checksum> base_tree;
    if (source.layout.ostree) {
        if (const auto base = repository->resolve(layer_ref(layers.front().blob.digest))) {
            try {
                base_tree = repository->load_commit(*base).tree;
            } catch (const Error&) {
                // Fetched again.
            }
        }
    }
    auto rules = derived_layer_rules(repository, base_tree);
    if (source.layout.ostree && !base_tree) rules.root = RootPolicy::usr_etc_var;
    LayerLookup lookup(*repository, *presence, rules);
    std::map<Digest, std::optional<Checksum>> looked_up;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        auto found = looked_up.find(layers[i].blob.digest);
        if (found == looked_up.end()) found = looked_up.emplace(layers[i].blob.digest, lookup.find(layers[i])).first;
        plan.present[i] = found->second;
    }
    count();
    const bool same = plan.previous && plan.previous->digest == source.digest && plan.missing == 0;
    plan.up_to_date =
        same &&
        std::all_of(layers.begin(), layers.end(),
                    [&](const auto& layer) { return repository->resolve(layer_ref(layer.blob.digest)).has_value(); }) &&
        presence->complete(plan.previous->merge_commit) &&
        (!plan.previous->base_commit || presence->complete(*plan.previous->base_commit));
    return plan;
}

}  // namespace imaged
