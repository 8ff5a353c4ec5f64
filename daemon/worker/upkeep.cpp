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
#include "store/repository/remote-writer.hpp"
#include "store/upkeep/prune.hpp"
#include "store/verify/repair.hpp"

namespace imaged {

namespace {

using nlohmann::json;

std::vector<ImageReference> images_of(const job::Request& request) {
    std::vector<ImageReference> images;
    for (const auto& text : request.texts("images")) images.push_back(ImageReference::parse(text));
    return images;
}

[[noreturn]] void refuse_missing(const std::vector<std::string>& images) {
    std::string names;
    for (const auto& image : images) names += (names.empty() ? "" : ", ") + image;
    throw Error(ErrorKind::not_found, "not in the repository: " + names);
}

json list_of(const std::map<std::string, std::string>& map, const char* key, const char* value) {
    auto list = json::array();
    for (const auto& [first, second] : map) list.push_back({{key, first}, {value, second}});
    return list;
}

json problem(const Damage& damage) {
    json entry{{"kind", to_string(damage.kind)}, {"message", damage.message}};
    if (!damage.object.empty()) entry["object"] = damage.object;
    if (!damage.layer.empty()) entry["layer"] = damage.layer;
    if (!damage.ref.empty()) entry["ref"] = damage.ref;
    if (!damage.path.empty()) entry["path"] = damage.path;
    return entry;
}

json damaged_images(const Verdict& verdict) {
    auto list = json::array();
    for (const auto& image : verdict.images) {
        if (image.damage.empty()) continue;
        json entry{{"image", image.image}, {"problem-count", image.damage_count}, {"problems", json::array()}};
        if (image.stored) entry["digest"] = image.stored->digest.text();
        for (const auto& damage : image.damage) entry["problems"].push_back(problem(damage));
        list.push_back(std::move(entry));
    }
    return list;
}

// With a repair, what is unverified after it, and why.
json unverified_images(const VerifyOutcome& outcome, bool repair) {
    auto list = json::array();
    for (const auto& image : outcome.verdict.images) {
        if (image.unverified.empty()) continue;
        const auto why = outcome.still_unverified.find(image.image);
        const bool refetched = std::any_of(outcome.refetched.begin(), outcome.refetched.end(),
                                           [&](const auto& other) { return other.image == image.image; });
        if (repair && refetched) continue;
        json entry{{"image", image.image}, {"layers", image.unverified}};
        if (why != outcome.still_unverified.end()) entry["error"] = why->second;
        list.push_back(std::move(entry));
    }
    return list;
}

json unchecked_images(const Verdict& verdict) {
    auto list = json::array();
    for (const auto& image : verdict.images) {
        if (!image.unchecked.empty()) list.push_back({{"image", image.image}, {"error", image.unchecked}});
    }
    return list;
}

json notes_of(const Verdict& verdict) {
    auto list = json::array();
    for (const auto& image : verdict.images) {
        for (const auto& note : image.notes) list.push_back({{"image", image.image}, {"message", note}});
    }
    return list;
}

}  // namespace

job::Result run_remove(const job::Request& request, const Cancellation& cancellation) {
    // Of a job that may not do it itself (publisher.hpp).
    if (request.texts("images").empty()) return success({{"layers-dropped", drop_unused_layers(request.repository)}});
    const auto outcome = remove_images(request.repository, images_of(request), cancellation);
    if (outcome.removed.empty()) refuse_missing(outcome.missing);
    auto removed = json::array();
    auto changed = json::array();
    for (const auto& [image, digest] : outcome.removed) {
        json entry{{"image", image}};
        if (!digest.empty()) entry["digest"] = digest;
        removed.push_back(std::move(entry));
        changed.push_back({{"image", image}, {"old", digest}, {"new", ""}});
    }
    auto result =
        success({{"removed", std::move(removed)}, {"missing", outcome.missing}, {"layers-dropped", outcome.layers}});
    result.changed_images = std::move(changed);
    return result;
}

job::Result run_prune(const job::Request& request, const Cancellation& cancellation, WorkObserver& observer) {
    const PruneRequest prune_request{request.repository, request.flag("dry-run"), request.flag("foreign-commits")};
    const auto outcome = prune(prune_request, cancellation, observer);
    return success({{"dry-run", prune_request.dry_run},
                    {"bytes", outcome.bytes},
                    {"objects", outcome.garbage.objects},
                    {"commits", outcome.garbage.commits},
                    {"objects-total", outcome.garbage.objects_total},
                    {"foreign-commits", outcome.garbage.foreign_commits},
                    {"layers-dropped", outcome.layers},
                    {"damaged", list_of(outcome.damaged, "image", "error")}});
}

job::Result run_verify(const job::Request& request, Cancellation& cancellation, WorkObserver& observer) {
    VerifyRequest verify;
    verify.repository = request.repository;
    verify.images = images_of(request);
    verify.repair = request.flag("repair");
    if (const auto source = request.text("source"); !source.empty()) verify.source = ImageReference::parse(source);
    verify.demand_signature = request.flag("signed") || demands_signature(request.settings.signature_policy, false);
    verify.local_sources = request.settings.local_sources;
    verify.proxy = proxy_options(request);
    take_fetch_settings(verify, request);
    if (request.publisher)
        verify.writer = std::make_shared<RemoteWriter>(FileDescriptor(*request.publisher), std::nullopt);
    const auto outcome = verify_and_repair(verify, cancellation, observer);
    const auto& verdict = outcome.verdict;
    if (verdict.images.empty() && !verdict.missing.empty()) refuse_missing(verdict.missing);
    auto damaged = damaged_images(verdict);
    auto unchecked = unchecked_images(verdict);
    const bool sound = (damaged.empty() || (verify.repair && outcome.unrepaired.empty())) &&
                       verdict.unused_layers.empty() && unchecked.empty();
    json details{{"sound", sound},
                 {"images-checked", verdict.images.size()},
                 {"objects-checked", verdict.objects},
                 {"bytes-checked", verdict.bytes},
                 {"damaged", std::move(damaged)},
                 {"damaged-layers", list_of(verdict.unused_layers, "digest", "error")},
                 {"missing", verdict.missing},
                 {"warnings", verdict.warnings},
                 {"unverified", unverified_images(outcome, verify.repair)},
                 {"notes", notes_of(verdict)}};
    if (!unchecked.empty()) details["unchecked"] = std::move(unchecked);
    if (!outcome.unrecorded.empty()) details["not-recorded"] = outcome.unrecorded;
    auto changed = json::array();
    if (verify.repair) {
        auto repaired = json::array();
        for (const auto& image : outcome.repaired) {
            json entry{{"image", image.image},
                       {"digest", image.digest},
                       {"layers-fetched", image.layers_fetched},
                       {"bytes-fetched", image.bytes_fetched}};
            if (!image.previous_digest.empty()) entry["previous-digest"] = image.previous_digest;
            if (image.digest != image.previous_digest)
                changed.push_back({{"image", image.image}, {"old", image.previous_digest}, {"new", image.digest}});
            repaired.push_back(std::move(entry));
        }
        details["repaired"] = std::move(repaired);
        auto refetched = json::array();
        for (const auto& image : outcome.refetched)
            refetched.push_back({{"image", image.image},
                                 {"layers-fetched", image.layers_fetched},
                                 {"bytes-fetched", image.bytes_fetched}});
        details["refetched"] = std::move(refetched);
        details["unrepaired"] = list_of(outcome.unrepaired, "image", "error");
    }
    auto result = success(std::move(details));
    result.changed_images = std::move(changed);
    return result;
}

}  // namespace imaged
