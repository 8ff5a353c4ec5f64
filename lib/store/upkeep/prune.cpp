// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/prune.hpp"

#include "base/directory.hpp"
#include "base/error.hpp"
#include "store/files/ref-name.hpp"
#include "store/files/verified-layers.hpp"
#include "store/records/image-sources.hpp"
#include "store/records/kept-versions.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/pending-update.hpp"
#include "store/records/signature-rules.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/moved-repository.hpp"
#include "store/upkeep/prune-record.hpp"

namespace imaged {

namespace {

std::optional<std::string> digest_of(const Repository& repository, const std::optional<Checksum>& commit) {
    if (!commit) return std::nullopt;
    try {
        return repository.load_commit(*commit).text(manifest_digest_key);
    } catch (const Error&) {
        return std::nullopt;  // a damaged image can be removed like any other
    }
}

// Whether prune() would still know, without the ref, that what the ref names came from an image.
bool shows_origin(const Repository& repository, const Checksum& commit) {
    try {
        return came_from_image(repository, repository.load_commit(commit));
    } catch (const Error&) {
        return false;
    }
}

// Without the image its aliases would lead nowhere, and libostree would not list any ref then. Nothing is removed
// before this.
void require_no_alias(const Repository& repository, const std::vector<ImageReference>& images) {
    std::set<std::string> removed;
    for (const auto& image : images) {
        removed.insert(image_ref(image));
        for (const auto& kept : kept_refs(repository.fd(), image_ref(image))) removed.insert(kept.ref);
    }
    for (const auto& [alias, target] : repository.aliases()) {
        if (removed.contains(target) && !removed.contains(alias))
            throw Error(ErrorKind::invalid_argument, "the ref " + alias + " is an alias of " + image_of_ref(target) +
                                                         "; delete it first (ostree refs --delete)");
    }
}

// Of the image whose REF is gone and named COMMIT.
void drop_what_is_known(Repository& repository, const std::string& ref, const std::optional<Checksum>& commit) {
    const auto image = image_of_ref(ref);
    forget_signature_rules(repository.fd(), image);
    for (const auto& kept : kept_refs(repository.fd(), ref)) repository.set_ref(kept.ref, std::nullopt);
    try {
        // Another image may have the commit, and this one may come back to it.
        if (commit) PendingUpdate::forget(repository, *commit, image);
    } catch (const Error&) {
        // Metadata that cannot be read says nothing of it.
    }
}

// The paths of the records of commits that are gone, or go with REMOVED.
std::vector<std::string> stale_records(const Repository& repository, const std::set<Checksum>& removed) {
    return VerifiedLayers(repository.fd()).stale([&](const Checksum& commit) {
        return !removed.contains(commit) && repository.has_object(ObjectType::commit, commit);
    });
}

// Adds their digests to DROPPED.
void drop_layers(Repository& repository, std::vector<std::string>& dropped) {
    for (const auto& [ref, commit] : LayerUse::find(repository).unused) {
        if (!commit || !shows_origin(repository, *commit)) continue;
        repository.set_ref(ref, std::nullopt);
        dropped.push_back(blob_of_ref(ref));
    }
}

}  // namespace

UnneededRefs UnneededRefs::find(const Repository& repository, unsigned keep) {
    UnneededRefs found;
    found.refs = surplus_versions(repository, keep);
    found.use = LayerUse::find(repository, found.refs);
    found.refs.insert(found.use.unused.begin(), found.use.unused.end());
    return found;
}

void usage_of_leftovers(const Repository& repository, const UnneededRefs& unneeded, DiskUsage& usage) {
    StagingArea::for_each_leftover(repository.fd(),
                                   [&](const std::string& path) { usage.remove(repository.fd(), path); });
    for (const auto& [ref, commit] : unneeded.refs) usage.remove(repository.fd(), "refs/heads/" + ref);
}

void usage_of_records(const Repository& repository, const std::set<Checksum>& removed, DiskUsage& usage) {
    for (const auto& path : stale_records(repository, removed)) usage.remove(repository.fd(), path);
}

PruneOutcome prune(const PruneRequest& request, const Cancellation& cancellation, WorkObserver& observer) {
    auto existing = Repository::open_existing(request.repository);
    if (!existing) return {};
    auto& repository = *existing;
    repository.wait_until_unlocked(cancellation);
    const Repository::Lock lock(repository, Repository::LockKind::exclusive);
    const PruneRecord record(repository, request);
    PruneOutcome outcome;
    DiskUsage usage;
    if (auto known = record.found()) {
        usage_of_leftovers(repository, {}, usage);
        if (!request.dry_run) StagingArea::clear_leftovers(repository.fd());
        outcome.garbage = std::move(*known);
        outcome.bytes = usage.bytes();
        outcome.is_as_before = true;
        require_in_place(repository);
        return outcome;
    }
    const auto unneeded = UnneededRefs::find(repository, request.keep);
    outcome.damaged = unneeded.use.damaged;
    usage_of_leftovers(repository, unneeded, usage);
    GarbageRules rules;
    rules.dry_run = request.dry_run;
    rules.foreign_commits = request.foreign_commits;
    for (const auto& [ref, commit] : unneeded.use.unused) outcome.layers.push_back(blob_of_ref(ref));
    for (const auto& [ref, commit] : unneeded.refs) {
        rules.ignored_refs.insert(ref);
        if (commit) rules.image_commits.insert(*commit);
    }
    rules.before_removal = [&] {
        StagingArea::clear_leftovers(repository.fd());
        for (const auto& [ref, commit] : unneeded.refs) repository.set_ref(ref, std::nullopt);
        if (!unneeded.refs.empty()) repository.sync();
    };
    outcome.garbage = collect_garbage(repository, rules, usage, cancellation, observer);
    try {
        for (const auto& path : stale_records(repository, outcome.garbage.removed_commits)) {
            usage.remove(repository.fd(), path);
            if (!request.dry_run) remove_tree(repository.fd(), path);
        }
    } catch (const Error&) {
        // Records of what is gone say nothing wrong; the next prune drops them.
    }
    for (const auto& [ref, why] : outcome.garbage.damaged) outcome.damaged.emplace(image_of_ref(ref), why);
    outcome.bytes = usage.bytes();
    require_in_place(repository);
    const bool is_clean = unneeded.refs.empty() && outcome.bytes == 0 && outcome.garbage.objects == 0 &&
                          outcome.garbage.directories.empty() && outcome.damaged.empty();
    if (is_clean && !request.dry_run) record.keep(outcome.garbage);
    return outcome;
}

RemoveOutcome remove_images(const std::string& path, const std::vector<ImageReference>& images,
                            const Cancellation& cancellation) {
    RemoveOutcome outcome;
    auto existing = Repository::open_existing(path);
    if (!existing) {
        outcome.missing = images;
        return outcome;
    }
    auto& repository = *existing;
    repository.wait_until_unlocked(cancellation);
    const Repository::Lock lock(repository, Repository::LockKind::exclusive);
    require_no_alias(repository, images);
    Refs found;
    for (const auto& image : images) {
        const auto ref = image_ref(image);
        if (found.contains(ref)) continue;
        const auto target = repository.resolve(ref);
        if (!target.exists) {
            outcome.missing.push_back(image);
            continue;
        }
        found.emplace(ref, target.commit);
        outcome.removed.push_back({image, digest_of(repository, target.commit)});
    }
    if (found.empty()) return outcome;
    for (const auto& [ref, commit] : found) repository.set_ref(ref, std::nullopt);
    try {
        repository.sync();
        std::set<std::string> names;
        for (const auto& [ref, commit] : found) names.insert(image_of_ref(ref));
        forget_image_sources(repository.fd(), names);
        for (const auto& [ref, commit] : found) drop_what_is_known(repository, ref, commit);
        if (has_few_images(repository)) drop_layers(repository, outcome.layers);
        repository.sync();
    } catch (const Error&) {
        // The images are gone; the next prune drops the rest.
    }
    require_in_place(repository);
    return outcome;
}

std::vector<std::string> drop_unused_layers(const std::string& path, unsigned keep) {
    Repository repository(path);
    if (!repository.is_unlocked()) return {};
    const Repository::Lock lock(repository, Repository::LockKind::exclusive);
    const auto surplus = surplus_versions(repository, keep);
    for (const auto& [ref, commit] : surplus) repository.set_ref(ref, std::nullopt);
    std::vector<std::string> digests;
    if (has_few_images(repository)) drop_layers(repository, digests);
    if (!surplus.empty() || !digests.empty()) repository.sync();
    return digests;
}

}  // namespace imaged
