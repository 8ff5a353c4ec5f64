// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/rollback.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "store/files/ref-name.hpp"
#include "store/files/verified-layers.hpp"
#include "store/records/image-sources.hpp"
#include "store/records/kept-versions.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/pending-update.hpp"
#include "store/records/presence.hpp"
#include "store/repository/moved-repository.hpp"

namespace imaged {

namespace {

class Rollback {
public:
    Rollback(Repository& repository, const RollbackRequest& request, const Cancellation& cancellation)
        : repository_(repository),
          request_(request),
          name_(request.image.image()),
          ref_(image_ref(request.image)),
          presence_(repository, cancellation) {}

    RolledBack run() {
        const auto target = repository_.resolve(ref_);
        if (!target.exists) throw Error(ErrorKind::not_found, "image " + name_ + " is not in the repository");
        const auto current = StoredImage::load_if_whole(repository_, target.commit, true);
        auto chosen = choose_kept_version(repository_, request_.image, request_.digest,
                                          current ? std::optional(current->digest) : std::nullopt);
        require_whole(chosen.image);
        if (current) keep_current(chosen.image.merge_commit);
        repository_.set_ref(ref_, chosen.image.merge_commit);
        tidy(chosen, current);
        require_in_place(repository_);
        return {current ? std::optional(current->digest) : std::nullopt, std::move(chosen.image)};
    }

private:
    // Other programs' prune takes away refs of layers that no image names; verified ones get theirs back.
    void require_whole(const StoredImage& image) {
        const auto refuse = [&](const std::string& what) {
            throw Error(ErrorKind::repository_damaged, "version " + image.digest.text() + " of " + name_ +
                                                           " is incomplete: " + what +
                                                           ". Pull this version by its digest instead");
        };
        for (const auto& commit : {std::optional(image.merge_commit), image.base_commit}) {
            if (commit && !presence_.complete(*commit)) refuse("commit " + commit->hex() + " lacks objects");
        }
        const VerifiedLayers verified(repository_.fd());
        for (const auto& layer : image.layout.layers) {
            const auto named = layer_target(repository_, layer);
            const auto commit = named.exists ? named.commit : verified.layer(layer.kind, layer.diff_id);
            if (!commit || !presence_.complete(*commit)) refuse("layer " + layer.blob.digest.text() + " is missing");
            if (named.exists) continue;
            for (const auto& [ref, target] : refs_for(repository_, layer, *commit)) repository_.set_ref(ref, target);
        }
    }

    void keep_current(const Checksum& next) {
        const auto kept = ref_to_keep(repository_.fd(), ref_, next);
        if (!kept) return;
        repository_.set_ref(kept->ref, kept->commit);
        repository_.sync();
    }

    // The image is what was asked for, whatever becomes of this: what is left is listed once, and goes with a prune.
    void tidy(const KeptVersion& chosen, const std::optional<StoredImage>& current) {
        try {
            repository_.sync();
            if (!has_alias(chosen.ref)) repository_.set_ref(chosen.ref, std::nullopt);
            if (current) move_update(*current, chosen.image);
            repository_.sync();
        } catch (const Error&) {
        }
    }

    bool has_alias(const std::string& ref) const {
        const auto aliases = repository_.aliases();
        return std::any_of(aliases.begin(), aliases.end(), [&](const auto& alias) { return alias.second == ref; });
    }

    // The image's next check finds out again; until then this is what is known of its source.
    void move_update(const StoredImage& from, const StoredImage& to) {
        if (image_source(repository_.fd(), name_) == archive_source) return;
        try {
            auto update = PendingUpdate::load(repository_, from.merge_commit, name_);
            if (!update) update = PendingUpdate{from.digest, from.manifest_text, from.config_text};
            if (update->digest == to.digest) update.reset();
            PendingUpdate::store(repository_, to.merge_commit, name_, update);
            PendingUpdate::forget(repository_, from.merge_commit, name_);
        } catch (const Error&) {
            // Metadata that cannot be read says nothing of it.
        }
    }

    Repository& repository_;
    const RollbackRequest& request_;
    const std::string name_, ref_;
    Presence presence_;
};

}  // namespace

RolledBack roll_back(const RollbackRequest& request, const Cancellation& cancellation) {
    auto existing = Repository::open_existing(request.repository);
    if (!existing) throw Error(ErrorKind::not_found, "image " + request.image.image() + " is not in the repository");
    auto& repository = *existing;
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    return Rollback(repository, request, cancellation).run();
}

}  // namespace imaged
