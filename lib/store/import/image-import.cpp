// SPDX-License-Identifier: Apache-2.0
#include "store/import/image-import.hpp"

#include <future>
#include <set>

#include "base/error.hpp"
#include "oci/image-index.hpp"
#include "source/archive/image-archive.hpp"
#include "source/archive/image-reader.hpp"
#include "store/fetch/archive-spool.hpp"
#include "store/fetch/delta-search.hpp"
#include "store/fetch/layer-fetch.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/moved-var.hpp"
#include "store/files/ref-name.hpp"
#include "store/files/verified-layers.hpp"
#include "store/import/merge-check.hpp"
#include "store/import/signed-commit.hpp"
#include "store/records/damage-record.hpp"
#include "store/records/image-sources.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/pending-update.hpp"
#include "store/records/signature-rules.hpp"
#include "store/repository/detached-metadata.hpp"
#include "store/repository/free-ref.hpp"
#include "store/repository/moved-repository.hpp"
#include "store/tree/merge-commit.hpp"

namespace imaged {

namespace {

SourceImage open_while_looking_ahead(ImageReader& reader, const ImportRequest& request, const Repository& repository,
                                     Presence& presence, const ImageReference& target) {
    const auto ahead = std::async(std::launch::async, [&] { look_ahead(repository, presence, target); });
    return reader.open(request.digest);
}

std::vector<FetchItem> missing_items(const SourceImage& source, const ImportPlan& plan, bool derived) {
    std::vector<FetchItem> items;
    std::set<Digest> seen;
    const auto& layers = source.layout.layers;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        if (plan.present[i] || (layers[i].kind == LayerKind::derived) != derived ||
            !seen.insert(layers[i].blob.digest).second)
            continue;
        items.push_back({i, &layers[i]});
    }
    // A commit is complete only with all chunks: it comes last.
    std::stable_partition(items.begin(), items.end(),
                          [](const auto& item) { return item.layer->kind != LayerKind::commit; });
    return items;
}

// Gives each of LAYERS its ref if it lacks it: a layer that was found by its diff-id, or whose ref was lost. Another
// program's prune takes the refs of layers away that no image names yet; their objects stay while the lock is held.
void keep_layer_refs(Repository& repository, const std::vector<ImageLayer>& layers,
                     const std::vector<Checksum>& commits) {
    const VerifiedLayers verified(repository.fd());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        if (placed_layer(repository, verified, layers[i]).target.commit == commits[i]) continue;
        for (const auto& [ref, commit] : refs_for(repository, layers[i], commits[i])) repository.set_ref(ref, commit);
    }
}

void check_kinds(const ImageLayout& layout) {
    for (const auto& first : layout.layers) {
        for (const auto& second : layout.layers) {
            if (first.blob.digest == second.blob.digest && first.kind != second.kind)
                throw Error(ErrorKind::unsupported_image, "layer " + first.blob.digest.text() + " is both a " +
                                                              std::string(to_string(first.kind)) + " and a " +
                                                              std::string(to_string(second.kind)) + " layer");
        }
    }
}

// Whether the merge of IMAGE is what its layers give: by imaged's own record, or computed again, once. Another program
// may have made it right; a copy may have brought it, made of anything.
bool is_right(const Repository& repository, const StoredImage& image, const Cancellation& cancellation) {
    if (VerifiedLayers(repository.fd()).has_image(image.digest, image.merge_commit)) return true;
    try {
        if (!is_sound(check_merge(repository, image, cancellation), image)) return false;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::repository_damaged) throw;
        return false;
    }
    repository.writer().add_image(image.digest, image.merge_commit);
    return true;
}

// Throws if the import would rely on what a verification found damaged.
void require_sound(const Repository& repository, const ImportPlan& plan) {
    std::vector<Checksum> commits;
    for (const auto& commit : plan.present)
        if (commit) commits.push_back(*commit);
    if (plan.up_to_date) {
        commits.push_back(plan.previous->merge_commit);
        if (const auto& base = plan.previous->base_commit) commits.push_back(*base);
    }
    DamageRecord::read(repository.fd()).require_sound(repository, commits);
}

// One import: run() has its passes.
class Import {
public:
    Import(const ImportRequest& request, Cancellation& cancellation, ImportObserver& observer)
        : request_(request),
          cancellation_(cancellation),
          observer_(observer),
          // First of all, because it takes longest to get going.
          reader_(request.archive ? nullptr
                                  : std::make_unique<ImageReader>(request.image, request.proxy, cancellation)),
          repository_(open_repository(request)),
          lock_(repository_, Repository::LockKind::shared),
          target_(request.target.value_or(request.image)),
          presence_(repository_, cancellation) {}

    ImportedImage run() {
        look();
        plan();
        if (plan_.up_to_date && !request_.remake_merge && is_right(repository_, *plan_.previous, cancellation_))
            return unchanged();
        fetch();
        if (request_.known && !request_.remake_merge) {
            if (auto stored = complete_merge()) return repaired(*std::move(stored));
        }
        merge();
        return publish();
    }

private:
    static Repository open_repository(const ImportRequest& request) {
        auto repository = Repository::open_or_create(request.repository);
        repository.write_through(request.writer);
        repository.require_image_mode();
        repository.reserve(request.disk_reserve);
        return repository;
    }

    // Which image it is, and whether it may be stored.
    void look() {
        repository_.writer().clear_leftovers();
        require_free_ref(repository_, target_);
        if (request_.archive)
            archive_ = std::make_unique<ImageArchive>(
                seekable_archive(*request_.archive, repository_, request_.proxy.stall_time, cancellation_),
                request_.image, request_.archive_name, request_.digest, cancellation_);
        source_ = archive_         ? archive_->image()
                  : request_.known ? *request_.known
                                   : open_while_looking_ahead(*reader_, request_, repository_, presence_, target_);
        check_named_digest();
        check_architecture();
        check_kinds(source_->layout);
        // A repair lets nothing in.
        if (!request_.known && source_->signature_policy.size() <= max_signature_rule)
            rule_ = source_->signature_policy;
        repository_.writer().announce(source_->digest, source_->layout, rule_);
    }

    // Throws if the image would be stored under a name with another digest than its own. If the name of the source has
    // the same digest, the source has checked it: it may be the digest of an index.
    void check_named_digest() const {
        const auto named = target_.digest();
        if (!named || named == source_->digest.text() || request_.known) return;
        if (!request_.archive && request_.image.digest() == named) return;
        throw Error(ErrorKind::digest_mismatch, "the image has the digest " + source_->digest.text() +
                                                    ", not the one in its name, " + target_.image());
    }

    // A host that deploys what it cannot run does not boot any more.
    void check_architecture() const {
        if (request_.any_architecture || request_.known || !source_->config.bootable()) return;
        const auto &architecture = source_->config.architecture, &os = source_->config.os;
        const auto host = host_architecture();
        if (architecture.value_or(host) == host && os.value_or("linux") == "linux") return;
        throw Error(ErrorKind::unsupported_image,
                    "the image is bootable and made for " + os.value_or("") + "/" + architecture.value_or("") +
                        ", and this host is linux/" + host +
                        "; to store it for other hosts all the same, set the option any-architecture");
    }

    // What of it is here.
    void plan() {
        plan_ = ImportPlan::make(&repository_, &presence_, *source_, target_, request_.trust);
        // An archive was refused before this if its reference demands a signature.
        if (reader_)
            signed_commit_ = verify_signed_commit(&repository_, *reader_, request_.image, *source_, plan_.present);
        if (signed_commit_ && plan_.present.front())
            add_signatures(repository_, signed_commit_->checksum, signed_commit_->metadata.value_or(std::string()));
        if (!request_.repairs) require_sound(repository_, plan_);
        std::vector<bool> present;
        for (const auto& commit : plan_.present) present.push_back(commit.has_value());
        observer_.layers(source_->layout.layers, present);
    }

    ImportedImage unchanged() {
        const auto& commit = plan_.previous->merge_commit;
        PendingUpdate::forget(repository_, commit, target_.image());
        if (comes_from_elsewhere() || !is_signature_rule_noted(repository_.fd(), target_.image(), commit, rule_))
            name_image(nullptr, commit);
        presence_.remember();
        require_in_place(repository_);
        return {.previous_digest = plan_.previous_digest,
                .image = *plan_.previous,
                .bytes_reused = plan_.present_bytes,
                .signature_policy = source_->signature_policy};
    }

    // The layers that are missing.
    void fetch() {
        auto delta = delta_for();
        repository_.require_space(plan_.missing_bytes);
        if (request_.known && plan_.missing > 0) reader_->open_for_layers(source_->digest);
        observer_.phase(ImportPhase::fetch);
        staging_ = repository_.make_staging();
        auto& layers = reader_ ? static_cast<LayerSource&>(*reader_) : *archive_;
        fetch_.emplace(layers, repository_, *staging_, cancellation_, observer_, request_.layers_at_once,
                       request_.expansion);
        if (signed_commit_) fetch_->require_commit(signed_commit_->checksum);
        if (!request_.known)
            fetch_->reuse_files(plan_.previous ? std::optional(plan_.previous->tree) : std::nullopt, moves_var());
        if (delta) {
            delta_digest_ = delta->artifact.digest;
            fetch_->use_delta(*std::move(delta), source_->delta.has_value());
        }
        if (source_->layout.ostree) {
            fetch_layers(false);
            base_ = plan_.present.front();
            rules_ = derived_layer_rules(&repository_, repository_.load_commit(*base_).tree);
        } else {
            rules_ = derived_layer_rules(&repository_, std::nullopt);
        }
        fetch_layers(true);
        for (const auto& commit : plan_.present) commits_.push_back(commit.value());
    }

    // What makes layers that are missing, if anything but their blobs does. Throws Error if the source is a delta
    // that cannot be applied.
    std::optional<UsableDelta> delta_for() {
        if (plan_.missing == 0) return std::nullopt;
        const bool objects_are_files = repository_.file_suffix() == ".file";
        if (!source_->delta) {
            if (!request_.deltas || request_.known || !reader_ || !objects_are_files) return std::nullopt;
            return find_delta(*reader_, repository_, *source_, plan_, cancellation_, refused_);
        }
        const auto refuse = [](const std::string& why) { throw Error(ErrorKind::unsupported_image, why); };
        if (!request_.deltas) refuse("the source is a delta, and the option delta is \"never\"");
        if (!objects_are_files) refuse("a delta cannot be applied in a repository of the mode " + repository_.mode());
        for (std::size_t i = 0; i < plan_.present.size(); ++i) {
            const auto& layer = source_->layout.layers[i].blob.digest;
            if (!plan_.present[i] && !source_->delta->made.contains(layer))
                throw Error(ErrorKind::not_found, "the delta does not contain the layer " + layer.text() +
                                                      ", and the repository does not have it");
        }
        const auto& config = source_->delta->source_config;
        const auto tree = tree_of_config(repository_, plan_.previous ? &*plan_.previous : nullptr, config);
        if (!tree)
            throw Error(ErrorKind::not_found,
                        "the delta starts from the image with the config " + config.text() + ", which is not stored");
        return UsableDelta{*source_->delta, *tree};
    }

    void fetch_layers(bool derived) {
        const auto& layers = source_->layout.layers;
        auto items = missing_items(*source_, plan_, derived);
        // A base commit that lacks nothing but what chunks hold need not be fetched with them.
        const bool base = !derived && items.size() > 1 && items.back().layer->kind == LayerKind::commit &&
                          layer_target(repository_, layers.front()).exists;
        const auto commit_layer = items.empty() ? FetchItem{} : items.back();
        if (base) items.pop_back();
        auto commits = fetch_->run(items, rules_);
        if (base) {
            Presence presence(repository_, cancellation_);
            const auto stored = LayerLookup(repository_, presence, rules_, request_.trust).find(layers.front());
            if (stored)
                commits.emplace(layers.front().blob.digest, *stored);
            else
                commits.merge(fetch_->run({commit_layer}, rules_));
        }
        for (std::size_t i = 0; i < layers.size(); ++i) {
            if (const auto commit = commits.find(layers[i].blob.digest); commit != commits.end() && !plan_.present[i])
                plan_.present[i] = commit->second;
        }
    }

    // What is stored under the target, if it is this image and lacks nothing.
    std::optional<StoredImage> complete_merge() const {
        const auto commit = repository_.resolve(image_ref(target_)).commit;
        if (!commit || !Presence(repository_, cancellation_).complete(*commit)) return std::nullopt;
        auto stored = StoredImage::load(repository_, *commit);
        return stored.digest == source_->digest ? std::optional(std::move(stored)) : std::nullopt;
    }

    ImportedImage repaired(StoredImage stored) {
        keep_layer_refs(repository_, source_->layout.layers, commits_);
        const auto& counts = fetch_->counts();
        return {.previous_digest = plan_.previous_digest,
                .image = std::move(stored),
                .layers_fetched = counts.layers,
                .bytes_fetched = counts.compressed_bytes,
                .bytes_reused = plan_.present_bytes + counts.spared_bytes};
    }

    void merge() {
        observer_.phase(ImportPhase::merge);
        cancellation_.check();
        // A merge that imaged writes has manifest and config as the source serves them.
        if (request_.known && !has_original_documents(*source_)) {
            const auto& image = request_.image;
            const bool registry = image.transport() == Transport::registry;
            const auto found = registry ? image.with_digest(source_->digest) : image;
            source_ = ImageReader(found, request_.proxy, cancellation_).open(source_->digest);
        }
        merged_ = write_merge_commit(repository_, *staging_, fetch_->pool(), {*source_, commits_, base_, rules_},
                                     cancellation_, [&] { observer_.phase(ImportPhase::relabel); });
    }

    ImportedImage publish() {
        observer_.phase(ImportPhase::commit);
        cancellation_.check();
        repository_.sync();
        merged_.sink->publish();
        repository_.writer().add_image(source_->digest, merged_.commit);
        repository_.sync();
        keep_layer_refs(repository_, source_->layout.layers, commits_);
        auto stored = StoredImage::load(repository_, merged_.commit);
        name_image(plan_.previous ? &*plan_.previous : nullptr, merged_.commit);
        try {
            // From here on a prune sees that they are used; one that looked before is undone.
            keep_layer_refs(repository_, source_->layout.layers, commits_);
            if (plan_.previous) PendingUpdate::forget(repository_, plan_.previous->merge_commit, target_.image());
        } catch (const Error&) {
            // The image has its new version. It is announced until the next check, or lacks a layer's ref for a repair.
        }
        repository_.settle();

        const auto& counts = fetch_->counts();
        auto merged_objects = merged_.sink->counts();
        merged_objects.objects_reused = 0;  // of layers
        auto objects = counts.objects;
        objects += merged_objects;
        refused_.insert(refused_.end(), counts.fetched_whole.begin(), counts.fetched_whole.end());
        return {.previous_digest = plan_.previous_digest,
                .changed = !plan_.previous || plan_.previous->merge_commit != merged_.commit,
                .image = std::move(stored),
                .layers_fetched = counts.layers,
                .bytes_fetched = counts.compressed_bytes,
                .bytes_reused = plan_.present_bytes + counts.spared_bytes,
                .objects = objects,
                .relabelled = merged_.relabelled,
                .signature_policy = source_->signature_policy,
                .layers_partial = counts.partial_layers,
                .bytes_saved = counts.spared_bytes,
                .fetched_whole = std::move(refused_),
                .delta = counts.delta_layers > 0 ? delta_digest_ : std::nullopt,
                .delta_layers = counts.delta_layers,
                .delta_bytes = counts.delta_bytes};
    }

    // Where the image comes from, as store/records/image-sources.hpp has it.
    std::string source_name() const { return request_.archive ? archive_source : request_.image.image(); }

    // Whether another source is known of the target than the request's. A repair says nothing of it.
    bool comes_from_elsewhere() const {
        if (request_.known || request_.remake_merge) return false;
        return image_source(repository_.fd(), target_.image()) != source_name();
    }

    // Gives COMMIT the name of the target, which PREVIOUS has now. A writer that is another process keeps the previous
    // version and notes the source and the rule itself.
    void name_image(const StoredImage* previous, const Checksum& commit) {
        const bool is_update = previous != nullptr && !request_.known;
        if (is_update && request_.keep_previous && !request_.writer) {
            if (const auto kept = ref_to_keep(repository_.fd(), image_ref(target_), commit))
                repository_.set_ref(kept->ref, kept->commit);
        }
        repository_.set_ref(image_ref(target_), commit);
        if (request_.writer) return;
        if (comes_from_elsewhere()) note_image_source(repository_.fd(), target_.image(), source_name());
        note_signature_rule(repository_.fd(), target_.image(), image_ref(target_), commit, rule_);
    }

    const ImportRequest& request_;
    Cancellation& cancellation_;
    ImportObserver& observer_;
    const std::unique_ptr<ImageReader> reader_;  // null for an archive
    Repository repository_;
    const Repository::Lock lock_;
    const ImageReference target_;
    Presence presence_;

    // look()
    std::unique_ptr<ImageArchive> archive_;
    std::optional<SourceImage> source_;
    std::string rule_;  // for signatures, which let the image in (signature-rules.hpp); empty if it need not be noted
    // plan()
    ImportPlan plan_;
    std::optional<CommitHead> signed_commit_;
    // fetch()
    std::vector<std::string> refused_;  // deltas, and why
    std::optional<Digest> delta_digest_;
    std::unique_ptr<StagingArea> staging_;
    std::optional<LayerFetch> fetch_;
    std::optional<Checksum> base_;
    DerivedLayerRules rules_;
    std::vector<Checksum> commits_;  // of the layers, in manifest order
    // merge()
    MergeCommit merged_;
};

}  // namespace

PreparedImage prepare_import(const ImportRequest& request, const Cancellation& cancellation, ImportObserver& observer) {
    observer.phase(ImportPhase::manifest);
    ImageReader reader(request.image, request.proxy, cancellation);
    const auto target = request.target.value_or(request.image);
    const auto repository = Repository::open_existing(request.repository);
    if (!repository) {
        auto source = reader.open(request.digest);
        auto plan = ImportPlan::make(nullptr, nullptr, source, target);
        verify_signed_commit(nullptr, reader, request.image, source, plan.present);
        return {std::move(source), std::move(plan)};
    }
    require_free_ref(*repository, target);
    Presence presence(*repository, cancellation);
    auto source = open_while_looking_ahead(reader, request, *repository, presence, target);
    auto plan = ImportPlan::make(&*repository, &presence, source, target);
    verify_signed_commit(&*repository, reader, request.image, source, plan.present);
    std::set<Digest> seen;
    std::vector<const ImageLayer*> missing;
    for (std::size_t i = 0; i < plan.present.size(); ++i) {
        const auto& layer = source.layout.layers[i];
        if (!plan.present[i] && seen.insert(layer.blob.digest).second) missing.push_back(&layer);
    }
    plan.bytes_to_fetch =
        bytes_to_fetch(reader, *repository, missing, plan.previous ? std::optional(plan.previous->tree) : std::nullopt,
                       request.expansion);
    return {std::move(source), std::move(plan)};
}

ImportedImage import_image(const ImportRequest& request, Cancellation& cancellation, ImportObserver& observer) {
    observer.phase(ImportPhase::manifest);
    return Import(request, cancellation, observer).run();
}

}  // namespace imaged
