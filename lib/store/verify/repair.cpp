// SPDX-License-Identifier: Apache-2.0
#include "store/verify/repair.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "store/files/partial-mark.hpp"
#include "store/files/verified-layers.hpp"
#include "store/import/image-import.hpp"
#include "store/import/merge-check.hpp"
#include "store/objects/quarantine.hpp"
#include "store/records/damage-record.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/presence.hpp"
#include "store/repository/moved-repository.hpp"

namespace imaged {

namespace {

// Shares of the job if something is to be repaired.
constexpr double verify_end = 0.5, repair_end = 0.8;

// A part of a job whose own phases begin at 0.
class Part : public WorkObserver {
public:
    Part(WorkObserver& whole, double from, double to) : whole_(whole), from_(from), to_(to) {}
    void begin(std::string_view name, double from, double to, std::string_view unit) override {
        whole_.begin(name, from_ + (to_ - from_) * from, from_ + (to_ - from_) * to, unit);
    }
    void advance(std::uint64_t done, std::uint64_t total) override { whole_.advance(done, total); }

private:
    WorkObserver& whole_;
    const double from_, to_;
};

// The progress of a single import is too detailed for a repair of many images.
class Silence : public ImportObserver {
public:
    void phase(ImportPhase) override {}
    void layers(const std::vector<ImageLayer>&, const std::vector<bool>&) override {}
    void fetched(std::size_t, std::size_t) override {}
    void finished(std::size_t) override {}
};

std::optional<Digest> digest_of(const ImageVerdict& verdict) {
    return verdict.stored ? std::optional(verdict.stored->digest) : std::nullopt;
}

// The repair of one image. A failure in one of its layers ends the others, but not the job.
class RepairJob {
public:
    RepairJob(const VerifyRequest& request, Repository& repository, Cancellation& job)
        : request_(request), repository_(repository), cancellation_(job.begin_part()) {}

    RepairedImage repair(const ImageVerdict& verdict, const Verdict& all) {
        auto import = import_request(verdict);
        const auto staging = repository_.make_staging();
        Quarantine quarantine(repository_, *staging);
        for (const auto& object : bad_objects(verdict, all)) quarantine.take(object);
        if (!verdict.stored && request_.demand_signature)
            import.image = import.image.with(SignatureSource::container_policy);
        if (verdict.stored) {
            import.remake_merge = has(verdict, DamageKind::merge);
            restore_refs(verdict);
        }
        Silence silence;
        const auto imported = import_image(import, cancellation_, silence);
        quarantine.discard();
        return {.image = verdict.image,
                .digest = imported.image.digest,
                .previous_digest = digest_of(verdict),
                .layers_fetched = imported.layers_fetched,
                .bytes_fetched = imported.bytes_fetched};
    }

    // Fetches the layers of an image that were never verified; the stored manifest says which. The merge was made of
    // them as they were before: if it is wrong, it is made again.
    RefetchedImage refetch(const ImageVerdict& verdict) {
        auto import = import_request(verdict);
        import.trust = LayerTrust::verified_only;
        Silence silence;
        const auto imported = import_image(import, cancellation_, silence);
        if (!is_sound(check_merge(repository_, imported.image, cancellation_), imported.image)) {
            import.remake_merge = true;
            import_image(import, cancellation_, silence);
        }
        return {verdict.image, imported.layers_fetched, imported.bytes_fetched};
    }

private:
    ImportRequest import_request(const ImageVerdict& verdict) const {
        const auto target = ImageReference::parse(verdict.image);
        // One source may serve the layers of many images; it can stand for one.
        const bool source_fits = request_.source && (verdict.stored || request_.images.size() == 1);
        ImportRequest import{.repository = request_.repository,
                             .image = source_fits ? *request_.source : target,
                             .target = target,
                             .proxy = request_.proxy};
        if (import.image.transport() != Transport::registry && !request_.local_sources)
            throw Error(ErrorKind::not_authorized,
                        "it would be fetched from " + import.image.image() + ", and only root may use local sources");
        import.layers_at_once = request_.layers_at_once;
        import.disk_reserve = request_.disk_reserve;
        import.expansion = request_.expansion;
        import.any_architecture = true;
        import.repairs = true;
        if (import.image.transport() != Transport::registry) import.proxy.service.reset();
        if (verdict.stored) import.known = as_source(*verdict.stored);
        return import;
    }

    static bool has(const ImageVerdict& verdict, DamageKind kind) {
        return std::any_of(verdict.damage.begin(), verdict.damage.end(),
                           [&](const auto& damage) { return damage.kind == kind; });
    }

    static std::vector<std::string> bad_objects(const ImageVerdict& verdict, const Verdict& all) {
        std::vector<std::string> objects;
        if (verdict.damage.size() < verdict.damage_count) {
            // More than are listed by image: all that is bad has to go anyway.
            for (const auto& [object, fault] : all.bad_objects) objects.push_back(object);
            return objects;
        }
        for (const auto& damage : verdict.damage) {
            if (damage.object) objects.push_back(*damage.object);
        }
        return objects;
    }

    // Layers that were verified get their refs back; the import fetches the others.
    void restore_refs(const ImageVerdict& verdict) {
        const VerifiedLayers verified(repository_.fd());
        for (const auto& damage : verdict.damage) {
            if (damage.kind != DamageKind::ref || !damage.ref) continue;
            std::map<std::string, Checksum> refs;
            for (const auto& layer : verdict.stored->layout.layers) {
                if (ref_of_layer(repository_, layer) != damage.ref) continue;
                // A ref names nothing that is not all there.
                const auto commit = verified.layer(layer.kind, layer.diff_id);
                if (commit && Presence(repository_, cancellation_).complete(*commit))
                    refs.merge(refs_for(repository_, layer, *commit));
            }
            if (refs.empty()) repository_.set_ref(*damage.ref, std::nullopt);
            for (const auto& [ref, commit] : refs) repository_.set_ref(ref, commit);
        }
    }

    const VerifyRequest& request_;
    Repository& repository_;
    Cancellation& cancellation_;
};

bool is_damaged(const ImageVerdict& verdict) {
    return verdict.damage_count > 0;
}

std::vector<ImageReference> damaged_images(const Verdict& verdict, std::map<std::string, std::string>& unrepaired) {
    std::vector<ImageReference> images;
    for (const auto& image : verdict.images) {
        if (!is_damaged(image)) continue;
        try {
            images.push_back(ImageReference::parse(image.image));
        } catch (const Error& error) {
            unrepaired.emplace(image.image, error.what());
        }
    }
    return images;
}

DamageRecord::Entry entry_of(const ImageVerdict& verdict) {
    const auto more = verdict.damage_count - 1;
    return {verdict.commit.value(),
            verdict.damage.front().message + (more > 0 ? " (and " + std::to_string(more) + " more)" : ""),
            verdict.damaged_commits};
}

// Lets listings report what VERDICTS say, and jobs heed it. The caller gets its report even if there is no room for the
// record.
void record_damage(const Repository& repository, const std::vector<ImageVerdict>& verdicts, bool all,
                   VerifyOutcome& outcome) {
    try {
        auto record = DamageRecord::read(repository.fd());
        std::vector<std::string> images;
        for (const auto& verdict : verdicts) {
            images.push_back(verdict.image);
            // What is known of an image stays when it could not be read. A broken ref is damage that listings see.
            if (is_damaged(verdict) && verdict.commit)
                record.set(verdict.image, entry_of(verdict));
            else if (!verdict.unchecked)
                record.set(verdict.image, std::nullopt);
        }
        if (all) record.keep_only(images);
        record.write(repository.writer());
        outcome.unrecorded.reset();
    } catch (const Error& error) {
        outcome.unrecorded = error.what();
    }
}

// The damaged images of OUTCOME, repaired as far as possible. Returns those that were.
std::vector<ImageReference> repair_damage(const VerifyRequest& request, Repository& repository, VerifyOutcome& outcome,
                                          Cancellation& cancellation, WorkObserver& observer) {
    const auto& before = outcome.verdict;
    auto images = damaged_images(before, outcome.unrepaired);
    std::uint64_t done = 0;
    for (const auto& reference : images) {
        auto current = before;
        // The repair of another image may have repaired this one.
        if (done > 0) {
            Part part(observer, verify_end, repair_end);
            current = verify_images(repository, {reference}, cancellation, part);
        }
        for (const auto& verdict : current.images) {
            if (verdict.image != reference.image()) continue;
            try {
                const auto digest = digest_of(verdict);
                outcome.repaired.push_back(
                    is_damaged(verdict)
                        ? RepairJob(request, repository, cancellation).repair(verdict, current)
                        : RepairedImage{.image = verdict.image, .digest = digest, .previous_digest = digest});
            } catch (const Error& error) {
                cancellation.check();
                outcome.unrepaired.emplace(verdict.image, error.what());
            }
        }
        observer.advance(++done, images.size());
    }
    std::erase_if(images, [&](const auto& image) { return outcome.unrepaired.contains(image.image()); });
    return images;
}

// Fetches anew what no version of this program with a record has verified. Returns the images that have all of it.
std::vector<ImageReference> refetch_unverified(const VerifyRequest& request, Repository& repository,
                                               VerifyOutcome& outcome, Cancellation& cancellation) {
    std::vector<ImageReference> images;
    for (const auto& verdict : outcome.verdict.images) {
        if (verdict.unverified.empty() || outcome.unrepaired.contains(verdict.image)) continue;
        try {
            cancellation.check();
            outcome.refetched.push_back(RepairJob(request, repository, cancellation).refetch(verdict));
            images.push_back(ImageReference::parse(verdict.image));
        } catch (const Error& error) {
            cancellation.check();
            outcome.still_unverified.emplace(verdict.image, error.what());
        }
    }
    return images;
}

// Drops the versions of OUTCOME that could not be repaired: no rollback to them is possible. Versions that could only
// not be read stay.
void drop_damaged_versions(Repository& repository, VerifyOutcome& outcome, Cancellation& cancellation,
                           WorkObserver& observer) {
    if (outcome.verdict.kept.empty()) return;
    std::vector<ImageReference> images;
    for (const auto& version : outcome.verdict.kept) images.push_back(ImageReference::parse(version.image));
    Part part(observer, repair_end, 1);
    outcome.verdict.kept = verify_images(repository, images, cancellation, part).kept;
    for (auto& version : outcome.verdict.kept) {
        if (version.unreadable) continue;
        repository.set_ref(version.ref, std::nullopt);
        version.dropped = true;
    }
    repository.sync();
}

void remove_marks(const Repository& repository, const Verdict& verdict) {
    for (const auto& commit : verdict.marked) remove_partial_mark(repository.fd(), commit);
}

void repair_all(const VerifyRequest& request, Repository& repository, VerifyOutcome& outcome,
                Cancellation& cancellation, WorkObserver& observer) {
    observer.begin("repair", verify_end, repair_end, "images");
    remove_marks(repository, outcome.verdict);
    auto images = repair_damage(request, repository, outcome, cancellation, observer);
    for (auto& image : refetch_unverified(request, repository, outcome, cancellation)) {
        const bool known = std::any_of(images.begin(), images.end(),
                                       [&](const auto& other) { return other.image() == image.image(); });
        if (!known) images.push_back(std::move(image));
    }
    drop_damaged_versions(repository, outcome, cancellation, observer);
    if (images.empty()) return;
    // Report it as repaired only if it is.
    Part part(observer, repair_end, 1);
    const auto after = verify_images(repository, images, cancellation, part);
    for (const auto& verdict : after.images) {
        if (is_damaged(verdict)) outcome.unrepaired.emplace(verdict.image, verdict.damage.front().message);
    }
    std::erase_if(outcome.repaired, [&](const auto& image) { return outcome.unrepaired.contains(image.image); });
    record_damage(repository, after.images, false, outcome);
    remove_marks(repository, after);
}

std::string mark_warning(const std::vector<Checksum>& marked) {
    return "ostree fsck fails although " +
           (marked.size() == 1 ? "commit " + marked.front().hex() + " is whole: it is"
                               : std::to_string(marked.size()) + " commits are whole: they are") +
           " marked as partial; to remove the marks, run: imagectl verify --repair";
}

}  // namespace

VerifyOutcome verify_and_repair(const VerifyRequest& request, Cancellation& cancellation, WorkObserver& observer) {
    VerifyOutcome outcome;
    auto existing = Repository::open_existing(request.repository);
    if (!existing) {
        outcome.verdict.missing = request.images;
        return outcome;
    }
    auto& repository = *existing;
    repository.write_through(request.writer);
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    Part part(observer, 0, request.repair ? verify_end : 1);
    outcome.verdict = verify_images(repository, request.images, cancellation, part);
    record_damage(repository, outcome.verdict.images, request.images.empty(), outcome);
    if (request.repair)
        repair_all(request, repository, outcome, cancellation, observer);
    else if (!outcome.verdict.marked.empty())
        outcome.verdict.warnings.push_back(mark_warning(outcome.verdict.marked));
    require_in_place(repository);
    return outcome;
}

}  // namespace imaged
