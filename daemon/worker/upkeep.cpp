// SPDX-License-Identifier: Apache-2.0
#include "upkeep.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "fetch-settings.hpp"
#include "outcome.hpp"
#include "proxy-start.hpp"
#include "store/upkeep/prune.hpp"
#include "store/upkeep/rollback.hpp"
#include "store/upkeep/usage-count.hpp"
#include "store/verify/repair.hpp"

namespace imaged {

namespace {

[[noreturn]] void refuse_missing(const std::vector<ImageReference>& images) {
    std::string names;
    for (const auto& image : images) names += (names.empty() ? "" : ", ") + image.image();
    throw Error(ErrorKind::not_found, "not in the repository: " + names);
}

// A list of structs whose first two members are a key and its value.
template <typename Entry>
std::vector<Entry> list_of(const std::map<std::string, std::string>& map) {
    std::vector<Entry> list;
    for (const auto& [first, second] : map) list.push_back({first, second});
    return list;
}

job::DamagedImage damaged_image(const ImageVerdict& image) {
    job::DamagedImage damaged{image.image, {}, image.damage_count, {}};
    if (image.stored) damaged.digest = image.stored->digest.text();
    for (const auto& damage : image.damage)
        damaged.problems.push_back({std::string(to_string(damage.kind)), damage.message, damage.object,
                                    text_of(damage.layer), damage.ref, damage.path});
    return damaged;
}

// With a repair, what is unverified after it, and why.
std::vector<job::UnverifiedImage> unverified_images(const VerifyOutcome& outcome, bool repair) {
    std::vector<job::UnverifiedImage> list;
    for (const auto& image : outcome.verdict.images) {
        if (image.unverified.empty()) continue;
        const auto why = outcome.still_unverified.find(image.image);
        const bool refetched = std::any_of(outcome.refetched.begin(), outcome.refetched.end(),
                                           [&](const auto& other) { return other.image == image.image; });
        if (repair && refetched) continue;
        list.push_back({image.image, {}, {}});
        for (const auto& layer : image.unverified) list.back().layers.push_back(layer.text());
        if (why != outcome.still_unverified.end()) list.back().error = why->second;
    }
    return list;
}

// What was repaired of OUTCOME's images, into REPORT and as changes of RESULT.
void report_repair(const VerifyOutcome& outcome, job::VerifyOutcome& report,
                   std::vector<job::ChangedImage>& changed_images) {
    report.bytes_fetched = 0;
    report.repaired.emplace();
    for (const auto& image : outcome.repaired) {
        *report.bytes_fetched += image.bytes_fetched;
        const auto digest = text_of(image.digest), previous = text_of(image.previous_digest);
        report.repaired->push_back(
            {image.image, digest.value_or(""), previous, image.layers_fetched, image.bytes_fetched});
        if (image.digest != image.previous_digest) changed_images.push_back({image.image, previous, digest});
    }
    report.refetched.emplace();
    for (const auto& image : outcome.refetched) {
        *report.bytes_fetched += image.bytes_fetched;
        report.refetched->push_back({image.image, image.layers_fetched, image.bytes_fetched});
    }
    report.unrepaired = list_of<job::ImageError>(outcome.unrepaired);
}

}  // namespace

job::Result run_remove(const job::Request& request, const job::Remove& work, const Cancellation& cancellation) {
    job::RemoveOutcome report;
    // Of a job that may not do it itself (publisher.hpp).
    if (work.images.empty()) {
        report.layers_dropped = drop_unused_layers(request.repository, request.settings.keep);
        recount_images(request.repository, request.settings.keep, FactsUse::known, cancellation);
        return success(report);
    }
    const auto outcome = remove_images(request.repository, work.images, cancellation);
    if (outcome.removed.empty()) refuse_missing(outcome.missing);
    recount_images(request.repository, request.settings.keep, FactsUse::known, cancellation);
    std::vector<job::ChangedImage> changed;
    for (const auto& [image, digest] : outcome.removed) {
        report.removed.push_back({image.image(), digest});
        changed.push_back({image.image(), digest, std::nullopt});
    }
    for (const auto& image : outcome.missing) report.missing.push_back(image.image());
    report.layers_dropped = outcome.layers;
    auto result = success(report);
    result.changed_images = std::move(changed);
    return result;
}

job::Result run_rollback(const job::Request& request, const job::Rollback& work, const Cancellation& cancellation) {
    const auto [previous, image] = roll_back({request.repository, work.image, work.version}, cancellation);
    recount_images(request.repository, request.settings.keep, FactsUse::known, cancellation);
    job::RollbackOutcome report;
    report.image = work.image.image();
    describe_image(report, image);
    report.previous_digest = text_of(previous);
    auto result = success(report);
    result.changed_images.push_back({report.image, report.previous_digest, report.digest});
    return result;
}

job::Result run_prune(const job::Request& request, const job::Prune& work, const Cancellation& cancellation,
                      WorkObserver& observer) {
    const auto outcome = prune({.repository = request.repository,
                                .dry_run = work.dry_run,
                                .foreign_commits = work.foreign_commits,
                                .keep = request.settings.keep},
                               cancellation, observer);
    if (!work.dry_run)
        recount_images(request.repository, request.settings.keep,
                       outcome.is_as_before ? FactsUse::unchanged : FactsUse::afresh, cancellation);
    job::PruneOutcome report;
    report.dry_run = work.dry_run;
    report.bytes = outcome.bytes;
    report.objects = outcome.garbage.objects;
    report.commits = outcome.garbage.commits;
    report.objects_total = outcome.garbage.objects_total;
    report.foreign_commits = outcome.garbage.foreign_commits;
    report.layers_dropped = outcome.layers;
    report.damaged = list_of<job::ImageError>(outcome.damaged);
    for (const auto& path : outcome.garbage.directories)
        report.warnings.push_back("objects/" + path +
                                  " is a directory, and no object: it stays; move it out of the repository");
    return success(report);
}

job::Result run_disk_usage(const job::Request& request, const Cancellation& cancellation, WorkObserver& observer) {
    auto usage = count_usage(request.repository, request.settings.keep, remote_writer(request), cancellation, observer);
    job::DiskUsageOutcome report;
    for (const auto& user : usage.users) {
        if (user.kind == UserKind::image) ++report.images;
        if (user.kind == UserKind::deployment) ++report.deployments;
        if (user.kind == UserKind::ref) ++report.refs;
        if (user.kind == UserKind::deployment || user.kind == UserKind::ref)
            report.others.push_back(
                {user.kind == UserKind::ref ? "ref" : "deployment", user.name, user.size.bytes, user.size.unique});
        if (!user.damage.empty()) report.damaged.push_back({user.name, user.damage});
    }
    const auto take = [&](UserKind kind, std::uint64_t& size, std::uint64_t& unique) {
        size = usage.kinds[kind].bytes;
        unique = usage.kinds[kind].unique;
    };
    take(UserKind::image, report.images_size, report.images_unique_size);
    take(UserKind::deployment, report.deployments_size, report.deployments_unique_size);
    take(UserKind::ref, report.refs_size, report.refs_unique_size);
    take(UserKind::commits, report.foreign_commits_size, report.foreign_commits_unique_size);
    report.foreign_commits = usage.unnamed_commits;
    report.disk_size = usage.bytes;
    report.objects = usage.objects;
    report.prunable_size = usage.prunable;
    return success(report);
}

job::Result run_verify(const job::Request& request, const job::Verify& work, Cancellation& cancellation,
                       WorkObserver& observer) {
    VerifyRequest verify;
    verify.repository = request.repository;
    verify.images = work.images;
    verify.repair = work.repair;
    verify.source = work.source;
    verify.demand_signature = work.demand_signature || demands_signature(request.settings.signature_policy, false);
    verify.local_sources = request.settings.local_sources;
    verify.proxy = proxy_options(request);
    take_fetch_settings(verify, request);
    verify.writer = remote_writer(request);
    const auto outcome = verify_and_repair(verify, cancellation, observer);
    if (!outcome.repaired.empty() || !outcome.refetched.empty())
        recount_images(request.repository, request.settings.keep, FactsUse::afresh, cancellation);
    const auto& verdict = outcome.verdict;
    if (verdict.images.empty() && !verdict.missing.empty()) refuse_missing(verdict.missing);

    job::VerifyOutcome report;
    std::vector<job::UncheckedImage> unchecked;
    for (const auto& image : verdict.images) {
        if (!image.damage.empty()) report.damaged.push_back(damaged_image(image));
        if (image.unchecked) unchecked.push_back({image.image, {}, *image.unchecked});
        for (const auto& note : image.notes) report.notes.push_back({image.image, note});
    }
    for (const auto& [ref, error] : verdict.unreadable) unchecked.push_back({ref, {}, error.what()});
    const bool kept_sound =
        std::all_of(verdict.kept.begin(), verdict.kept.end(), [](const auto& version) { return version.dropped; });
    report.sound = (report.damaged.empty() || (verify.repair && outcome.unrepaired.empty())) &&
                   verdict.unused_layers.empty() && kept_sound && unchecked.empty();
    report.images_checked = verdict.images.size();
    report.objects_checked = verdict.objects;
    report.bytes_checked = verdict.bytes;
    report.damaged_layers = list_of<job::DamagedLayer>(verdict.unused_layers);
    for (const auto& version : verdict.kept)
        report.damaged_kept.push_back({version.image, text_of(version.digest).value_or(""), version.error});
    for (const auto& image : verdict.missing) report.missing.push_back(image.image());
    report.unverified = unverified_images(outcome, verify.repair);
    if (!unchecked.empty()) report.unchecked = std::move(unchecked);
    report.not_recorded = outcome.unrecorded;
    report.warnings = verdict.warnings;
    std::vector<job::ChangedImage> changed;
    if (verify.repair) report_repair(outcome, report, changed);
    auto result = success(report);
    result.changed_images = std::move(changed);
    return result;
}

}  // namespace imaged
