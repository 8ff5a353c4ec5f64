// SPDX-License-Identifier: Apache-2.0
#include "store/import/image-import.hpp"

#include <algorithm>
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

// What is known of an image, with manifest and config as its source serves them: a merge that imaged writes has no
// others.
SourceImage original(const SourceImage& known, const ImportRequest& request, const Cancellation& cancellation) {
    if (has_original_documents(known)) return known;
    const auto& image = request.image;
    const bool registry = image.transport() == Transport::registry;
    const auto found = registry ? image.with_digest(known.digest) : image;
    return ImageReader(found, request.proxy, cancellation).open(known.digest);
}

// The commits of an image's layers, in manifest order, and the rules they were imported by.
struct LayerCommits {
    std::vector<Checksum> commits;
    DerivedLayerRules rules;
    std::optional<Checksum> base;
};

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

// Gives each of LAYERS its ref where it lacks it: a layer that was found by its diff-id, or whose ref was lost. Another
// program's prune takes the refs of layers away that no image names yet; their objects stay while the lock is held.
void keep_layer_refs(Repository& repository, const std::vector<ImageLayer>& layers,
                     const std::vector<Checksum>& commits) {
    const VerifiedLayers verified(repository.fd());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        if (placed_layer(repository, verified, layers[i]).commit == commits[i]) continue;
        for (const auto& [ref, commit] : refs_for(repository, layers[i], commits[i])) repository.set_ref(ref, commit);
    }
}

LayerCommits fetch_layers(Repository& repository, LayerFetch& fetch, const SourceImage& source, ImportPlan& plan,
                          LayerTrust trust, const Cancellation& cancellation) {
    LayerCommits found;
    const auto& layers = source.layout.layers;
    const auto fetch_kind = [&](bool derived) {
        auto items = missing_items(source, plan, derived);
        // A base commit that lacks nothing but what chunks hold need not be fetched with them.
        const bool base = !derived && items.size() > 1 && items.back().layer->kind == LayerKind::commit &&
                          placed_layer(repository, VerifiedLayers(repository.fd()), layers.front()).commit;
        const auto commit_layer = items.empty() ? FetchItem{} : items.back();
        if (base) items.pop_back();
        auto commits = fetch.run(items, found.rules);
        if (base) {
            Presence presence(repository, cancellation);
            const auto stored = LayerLookup(repository, presence, found.rules, trust).find(layers.front());
            if (stored)
                commits.emplace(layers.front().blob.digest, *stored);
            else
                commits.merge(fetch.run({commit_layer}, found.rules));
        }
        for (std::size_t i = 0; i < layers.size(); ++i) {
            if (const auto commit = commits.find(layers[i].blob.digest); commit != commits.end() && !plan.present[i])
                plan.present[i] = commit->second;
        }
    };
    if (source.layout.ostree) {
        fetch_kind(false);
        found.base = plan.present.front();
        found.rules = derived_layer_rules(&repository, repository.load_commit(*found.base).tree);
    } else {
        found.rules = derived_layer_rules(&repository, std::nullopt);
    }
    fetch_kind(true);
    for (const auto& commit : plan.present) found.commits.push_back(commit.value());
    return found;
}

// What is stored under TARGET, if it is the image with DIGEST and lacks nothing.
std::optional<StoredImage> complete_merge(const Repository& repository, const ImageReference& target,
                                          const Digest& digest, const Cancellation& cancellation) {
    const auto commit = repository.resolve(image_ref(target));
    if (!commit || !Presence(repository, cancellation).complete(*commit)) return std::nullopt;
    auto stored = StoredImage::load(repository, *commit);
    return stored.digest == digest ? std::optional(std::move(stored)) : std::nullopt;
}

// A host that deploys what it cannot run does not boot any more.
void check_architecture(const ImportRequest& request, const SourceImage& source) {
    if (request.any_architecture || request.known || !source.config.bootable()) return;
    const auto& [architecture, os] = std::pair(source.config.architecture, source.config.os);
    const auto host = host_architecture();
    if ((architecture.empty() || architecture == host) && (os.empty() || os == "linux")) return;
    throw Error(ErrorKind::unsupported_image,
                "the image is bootable and made for " + os + "/" + architecture + ", and this host is linux/" + host +
                    "; to store it for other hosts all the same, set the option any-architecture");
}

// Throws if the image would be stored under a name with another digest than its own. If the name of the source has the
// same digest, the source has checked it: it may be the digest of an index.
void check_named_digest(const ImportRequest& request, const ImageReference& target, const Digest& digest) {
    const auto named = target.digest();
    if (named.empty() || named == digest.text() || request.known) return;
    if (!request.archive && request.image.digest() == named) return;
    throw Error(ErrorKind::digest_mismatch,
                "the image has the digest " + digest.text() + ", not the one in its name, " + target.image());
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

// Where REQUEST's image comes from, as store/records/image-sources.hpp has it.
static std::string source_of(const ImportRequest& request) {
    return request.archive ? archive_source : request.image.image();
}

// Returns the signature rule that SOURCE satisfied (signature-rules.hpp); empty if it is not recorded: a repair checks
// none.
static std::string rule_to_note(const ImportRequest& request, const SourceImage& source) {
    if (request.known || source.signature_policy.size() > max_signature_rule) return {};
    return source.signature_policy;
}

// Whether another source is known of TARGET than REQUEST's. A repair says nothing of it.
static bool comes_from_elsewhere(const ImportRequest& request, const Repository& repository,
                                 const ImageReference& target) {
    if (request.known || request.remake_merge) return false;
    const auto sources = image_sources(repository.fd());
    const auto found = sources.find(target.image());
    return (found == sources.end() ? target.image() : found->second) != source_of(request);
}

// Gives COMMIT, which RULE let in, the name TARGET, which PREVIOUS has now. A writer that is another process keeps the
// previous version and notes the source and the rule itself.
static void name_image(const ImportRequest& request, Repository& repository, const ImageReference& target,
                       const StoredImage* previous, const Checksum& commit, const std::string& rule) {
    const bool is_update = previous != nullptr && !request.known;
    if (is_update && request.keep_previous && !request.writer) {
        if (const auto kept = ref_to_keep(repository.fd(), image_ref(target), commit))
            repository.set_ref(kept->ref, kept->commit);
    }
    repository.set_ref(image_ref(target), commit);
    if (request.writer) return;
    if (comes_from_elsewhere(request, repository, target))
        note_image_source(repository.fd(), target.image(), source_of(request));
    note_signature_rule(repository.fd(), target.image(), image_ref(target), commit, rule);
}

// What makes layers that PLAN says are missing, if anything but their blobs does. READER is null for an archive. Throws
// Error where SOURCE is a delta that cannot be applied. REFUSED: as of find_delta().
static std::optional<UsableDelta> delta_for(const ImportRequest& request, const Repository& repository,
                                            const SourceImage& source, const ImportPlan& plan, ImageReader* reader,
                                            const Cancellation& cancellation, std::vector<std::string>& refused) {
    if (plan.missing == 0) return std::nullopt;
    const bool objects_are_files = repository.file_suffix() == ".file";
    if (!source.delta) {
        if (!request.deltas || request.known || reader == nullptr || !objects_are_files) return std::nullopt;
        return find_delta(*reader, repository, source, plan, cancellation, refused);
    }
    const auto refuse = [](const std::string& why) { throw Error(ErrorKind::unsupported_image, why); };
    if (!request.deltas) refuse("there is a delta and no image, and the option delta is \"never\"");
    if (!objects_are_files) refuse("a delta cannot be applied in a repository of the mode " + repository.mode());
    for (std::size_t i = 0; i < plan.present.size(); ++i) {
        const auto& layer = source.layout.layers[i].blob.digest;
        if (!plan.present[i] && !source.delta->made.contains(layer))
            throw Error(ErrorKind::not_found,
                        "the delta leaves out the layer " + layer.text() + ", which is not stored");
    }
    const auto& config = source.delta->source_config;
    const auto tree = tree_of_config(repository, plan.previous ? &*plan.previous : nullptr, config);
    if (!tree)
        throw Error(ErrorKind::not_found,
                    "the delta starts from the image with the config " + config.text() + ", which is not stored");
    return UsableDelta{*source.delta, *tree};
}

ImportedImage import_image(const ImportRequest& request, Cancellation& cancellation, ImportObserver& observer) {
    observer.phase(ImportPhase::manifest);
    // First of all, because it takes longest to get going.
    std::optional<ImageReader> reader;
    if (!request.archive) reader.emplace(request.image, request.proxy, cancellation);
    auto repository = Repository::open_or_create(request.repository);
    repository.write_through(request.writer);
    repository.require_image_mode();
    repository.reserve(request.disk_reserve);
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    repository.writer().clear_leftovers();
    const auto target = request.target.value_or(request.image);
    require_free_ref(repository, target);
    Presence presence(repository, cancellation);
    std::unique_ptr<ImageArchive> archive;
    if (request.archive)
        archive = std::make_unique<ImageArchive>(
            seekable_archive(*request.archive, repository, request.proxy.stall_time, cancellation), request.image,
            request.archive_name, request.digest, cancellation);
    auto source = archive         ? archive->image()
                  : request.known ? *request.known
                                  : open_while_looking_ahead(*reader, request, repository, presence, target);
    check_named_digest(request, target, source.digest);
    check_architecture(request, source);
    check_kinds(source.layout);
    const auto rule = rule_to_note(request, source);
    repository.writer().announce(source.digest, source.layout, rule);
    auto plan = ImportPlan::make(&repository, &presence, source, target, request.trust);
    // An archive was refused before this if its reference demands a signature.
    const auto signed_commit =
        reader ? verify_signed_commit(&repository, *reader, request.image, source, plan.present) : std::nullopt;
    if (signed_commit && plan.present.front())
        add_signatures(repository, signed_commit->checksum, signed_commit->metadata.value_or(std::string()));

    if (!request.repairs) require_sound(repository, plan);
    std::vector<bool> present;
    for (const auto& commit : plan.present) present.push_back(commit.has_value());
    observer.layers(source.layout.layers, present);
    if (plan.up_to_date && !request.remake_merge && is_right(repository, *plan.previous, cancellation)) {
        PendingUpdate::forget(repository, plan.previous->merge_commit, target.image());
        if (comes_from_elsewhere(request, repository, target) ||
            !is_signature_rule_noted(repository.fd(), target.image(), plan.previous->merge_commit, rule))
            name_image(request, repository, target, nullptr, plan.previous->merge_commit, rule);
        ImportedImage unchanged{plan.previous_digest, false, *plan.previous};
        unchanged.bytes_reused = plan.present_bytes;
        unchanged.signature_policy = source.signature_policy;
        presence.remember();
        require_in_place(repository);
        return unchanged;
    }
    std::vector<std::string> refused;
    auto delta = delta_for(request, repository, source, plan, reader ? &*reader : nullptr, cancellation, refused);
    repository.require_space(plan.missing_bytes);
    if (request.known && plan.missing > 0) reader->open_for_layers(source.digest);

    observer.phase(ImportPhase::fetch);
    const auto staging = repository.make_staging();
    auto& layer_source = reader ? static_cast<LayerSource&>(*reader) : *archive;
    LayerFetch fetch(layer_source, repository, *staging, cancellation, observer, request.layers_at_once,
                     request.expansion);
    if (signed_commit) fetch.require_commit(signed_commit->checksum);
    if (!request.known)
        fetch.reuse_files(plan.previous ? std::optional(plan.previous->tree) : std::nullopt, moves_var());
    const auto delta_digest = delta ? delta->artifact.digest.text() : std::string();
    if (delta) fetch.use_delta(*std::move(delta), source.delta.has_value());
    const auto layers = fetch_layers(repository, fetch, source, plan, request.trust, cancellation);
    if (request.known && !request.remake_merge) {
        if (auto stored = complete_merge(repository, target, source.digest, cancellation)) {
            keep_layer_refs(repository, source.layout.layers, layers.commits);
            const auto& counts = fetch.counts();
            return {plan.previous_digest,    false,
                    *std::move(stored),      counts.layers,
                    counts.compressed_bytes, plan.present_bytes + counts.spared_bytes};
        }
    }
    observer.phase(ImportPhase::merge);
    cancellation.check();
    if (request.known) source = original(source, request, cancellation);
    const auto merged = write_merge_commit(repository, *staging, source, layers.commits, layers.base, layers.rules,
                                           fetch.pool(), cancellation, [&] { observer.phase(ImportPhase::relabel); });
    observer.phase(ImportPhase::commit);
    cancellation.check();
    repository.sync();
    merged.sink->publish();
    repository.writer().add_image(source.digest, merged.commit);
    repository.sync();
    keep_layer_refs(repository, source.layout.layers, layers.commits);
    auto stored = StoredImage::load(repository, merged.commit);
    name_image(request, repository, target, plan.previous ? &*plan.previous : nullptr, merged.commit, rule);
    try {
        // From here on a prune sees that they are used; one that looked before is undone.
        keep_layer_refs(repository, source.layout.layers, layers.commits);
        if (plan.previous) PendingUpdate::forget(repository, plan.previous->merge_commit, target.image());
    } catch (const Error&) {
        // The image has its new version. It is announced until the next check, or lacks a layer's ref for a repair.
    }
    repository.settle();

    const auto& counts = fetch.counts();
    auto merged_objects = merged.sink->counts();
    merged_objects.objects_reused = 0;  // of layers
    auto objects = counts.objects;
    objects += merged_objects;
    refused.insert(refused.end(), counts.fetched_whole.begin(), counts.fetched_whole.end());
    return {plan.previous_digest,
            !plan.previous || plan.previous->merge_commit != merged.commit,
            std::move(stored),
            counts.layers,
            counts.compressed_bytes,
            plan.present_bytes + counts.spared_bytes,
            objects,
            merged.relabelled,
            source.signature_policy,
            counts.partial_layers,
            counts.spared_bytes,
            std::move(refused),
            counts.delta_layers > 0 ? delta_digest : std::string(),
            counts.delta_layers,
            counts.delta_bytes};
}

}  // namespace imaged
