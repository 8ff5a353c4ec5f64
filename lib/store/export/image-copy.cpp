// SPDX-License-Identifier: Apache-2.0
#include "store/export/image-copy.hpp"

#include <map>
#include <set>
#include <vector>

#include "base/error.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/ref-name.hpp"
#include "store/objects/tree-walk.hpp"
#include "store/records/damage-record.hpp"
#include "store/records/image-sources.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/presence.hpp"
#include "store/repository/detached-metadata.hpp"
#include "store/repository/foreign-repository.hpp"
#include "store/repository/free-ref.hpp"

namespace imaged {

namespace {

// As many threads as it takes to keep two cores busy beside the one that walks the trees.
constexpr unsigned link_threads = 2;

// The one that may have to be made is imaged's own.
Repository open_destination(const std::string& path, bool make) {
    if (make) Repository::open_or_create(path);
    return open_self_contained(path, RepositoryUse::write);
}

// Walks commits in the source: files go to the destination at once, directories are remembered, parts first.
class CommitWalk {
public:
    CommitWalk(const Repository& source, ObjectTransfer& transfer, const Cancellation& cancellation)
        : source_(source), transfer_(transfer), cancellation_(cancellation) {}

    void commit(const Checksum& checksum) {
        walk_tree(source_, source_.load_commit(checksum), cancellation_,
                  {.enter =
                       [&](const TreePlace& place) {
                           directory_meta(place.meta);
                           return seen_.insert(place.tree);
                       },
                   .list =
                       [&](const TreePlace&, const DirectoryListing& listing) {
                           for (const auto& file : listing.files) transfer_.add_file(file.object);
                       },
                   .leave = [&](const TreePlace& place) { trees_.push_back(place.tree); }});
    }

    const std::vector<Checksum>& trees() const { return trees_; }
    const std::vector<Checksum>& metas() const { return metas_; }

private:
    void directory_meta(const Checksum& meta) {
        if (!seen_.insert(meta)) return;
        source_.require_metadata(ObjectType::dirmeta, meta);
        metas_.push_back(meta);
    }

    const Repository& source_;
    ObjectTransfer& transfer_;
    const Cancellation& cancellation_;
    ChecksumSet seen_;
    std::vector<Checksum> trees_, metas_;
};

class ImageCopy {
public:
    ImageCopy(const CopyRequest& request, Repository& source, Repository& destination, const Cancellation& cancellation,
              ImportObserver& observer)
        : request_(request),
          source_(source),
          destination_(destination),
          cancellation_(cancellation),
          observer_(observer),
          present_(destination, cancellation),
          damage_(DamageRecord::read(destination.fd())),
          target_(request.target.value_or(request.image)) {}

    CopiedImage run() {
        const auto image = in_context(source_.path(), [&] { return StoredImage::find(source_, request_.image); });
        require_free_ref(destination_, target_);
        CopiedImage copied{previous_digest(), false, image, {}};
        const auto staging = destination_.make_staging();
        WriterPool pool(link_threads);
        ObjectTransfer transfer(source_, destination_, *staging, pool, cancellation_);
        const auto refs = bring_objects(image, transfer);
        copied.objects = transfer.counts();
        const auto objects_changed = copied.objects.linked + copied.objects.reflinked + copied.objects.copied > 0;
        copied.changed = write_refs(refs, image.merge_commit, copied.image) || objects_changed;
        if (!copied.changed) present_.remember();
        return copied;
    }

private:
    std::optional<Digest> previous_digest() const {
        const auto image = StoredImage::load_if_whole(destination_, destination_.resolve(image_ref(target_)).commit);
        return image ? std::optional(image->digest) : std::nullopt;
    }

    // Copies all that the image needs; returns the refs of its layers.
    std::map<std::string, Checksum> bring_objects(const StoredImage& image, ObjectTransfer& transfer) {
        std::map<std::string, Checksum> refs;
        std::vector<Checksum> commits;
        std::vector<bool> present, kept;
        const VerifiedLayers verified(source_.fd());
        for (const auto& layer : image.layout.layers) {
            const auto [source_ref, source_target] = placed_layer(source_, verified, layer);
            const auto& commit = source_target.commit;
            if (!commit)
                throw Error(ErrorKind::repository_damaged, "layer " + layer.blob.digest.text() + " of " +
                                                               request_.image.image() + " is missing in " +
                                                               source_.path());
            const auto there = layer_target(destination_, layer);
            present.push_back(there.exists);
            kept.push_back(there.commit && there.commit != commit && keeps(layer, *there.commit));
            if (!there.exists && source_ref == own_ref(layer))
                refs.emplace(source_ref, *commit);
            else if (there.commit != commit && !kept.back())
                refs.merge(refs_for(destination_, layer, *commit));
            commits.push_back(*commit);
        }
        observer_.layers(image.layout.layers, present);
        observer_.phase(ImportPhase::copy);
        CommitWalk walk(source_, transfer, cancellation_);
        for (std::size_t i = 0; i < commits.size(); ++i) {
            const auto& layer = image.layout.layers[i];
            if (kept[i]) {
                damage_.require_sound(destination_, {*layer_target(destination_, layer).commit});
            } else {
                in_context("layer " + layer.blob.digest.text(), [&] { bring(walk, commits[i]); });
                brought_.insert(commits[i]);
            }
            if (present[i]) continue;
            observer_.fetched(i, layer.blob.size);
            observer_.finished(i);
        }
        if (image.base_commit) brought_.insert(*image.base_commit);
        brought_.insert(image.merge_commit);
        in_context(request_.image.image(), [&] {
            if (image.base_commit) bring(walk, *image.base_commit);
            bring(walk, image.merge_commit);
        });
        transfer.finish_files();
        observer_.phase(ImportPhase::commit);
        for (const auto& meta : walk.metas()) transfer.add_metadata(ObjectType::dirmeta, meta);
        for (const auto& tree : walk.trees()) transfer.add_metadata(ObjectType::dirtree, tree);
        transfer.finish_metadata();
        sync_changes(transfer);
        // libostree takes whatever a commit names for present when the commit is.
        for (const auto& commit : brought_) copy_signatures(commit);
        for (const auto& [ref, commit] : refs) {
            if (brought_.contains(commit)) mark_copied(destination_, commit);
        }
        for (const auto& commit : brought_) transfer.add_metadata(ObjectType::commit, commit);
        transfer.finish_metadata();
        sync_changes(transfer);
        return refs;
    }

    // What the destination has already, whole, is not looked at in the source.
    void bring(CommitWalk& walk, const Checksum& commit) {
        if (present_.complete(commit))
            damage_.require_sound(destination_, {commit});
        else
            walk.commit(commit);
    }

    void sync_changes(const ObjectTransfer& transfer) const {
        const auto counts = transfer.counts();
        if (counts.linked + counts.reflinked + counts.copied > 0) destination_.sync();
    }

    // A layer that the destination got otherwise serves the images there, and this one as well: another repository's
    // claim does not replace it.
    bool keeps(const ImageLayer& layer, const Checksum& commit) {
        return is_of_kind(destination_, layer, commit) && Presence(destination_, cancellation_).complete(commit);
    }

    void copy_signatures(const Checksum& commit) {
        if (const auto metadata = source_.detached_metadata(commit)) add_signatures(destination_, commit, *metadata);
    }

    // True when anything changed. IMAGE becomes what the destination has, which needs the refs of its layers.
    bool write_refs(std::map<std::string, Checksum> refs, const Checksum& merge_commit, StoredImage& image) {
        std::erase_if(refs, [&](const auto& ref) { return destination_.resolve(ref.first).commit == ref.second; });
        cancellation_.check();
        if (!refs.empty()) destination_.set_refs(refs);
        image = StoredImage::load(destination_, merge_commit);
        const auto ref = image_ref(target_);
        const bool image_changed = destination_.resolve(ref).commit != merge_commit;
        if (image_changed) name_image(ref, merge_commit);
        if (request_.make_destination) note_source();
        const bool changed = image_changed || !refs.empty();
        if (changed) destination_.settle();
        return changed;
    }

    void name_image(const std::string& ref, const Checksum& merge_commit) {
        const auto kept = request_.keep_previous && previous_digest()
                              ? ref_to_keep(destination_.fd(), ref, merge_commit)
                              : std::nullopt;
        if (kept) destination_.set_ref(kept->ref, kept->commit);
        destination_.set_ref(ref, merge_commit);
    }

    // Where the image came from (image-sources.hpp): what the source knew of it.
    void note_source() const {
        note_image_source(destination_.fd(), target_.image(), image_source(source_.fd(), request_.image.image()));
    }

    const CopyRequest& request_;
    Repository& source_;
    Repository& destination_;
    const Cancellation& cancellation_;
    ImportObserver& observer_;
    Presence present_;  // in the destination
    const DamageRecord damage_;
    const ImageReference target_;
    std::set<Checksum> brought_;  // commits
};

}  // namespace

CopiedImage copy_image(const CopyRequest& request, const Cancellation& cancellation, ImportObserver& observer) {
    observer.phase(ImportPhase::manifest);
    auto source = open_self_contained(request.source, RepositoryUse::read);
    auto destination = open_destination(request.destination, request.make_destination);
    const Repository::Lock source_lock(source, Repository::LockKind::shared);
    const Repository::Lock destination_lock(destination, Repository::LockKind::shared);
    destination.writer().clear_leftovers();
    return ImageCopy(request, source, destination, cancellation, observer).run();
}

}  // namespace imaged
