// SPDX-License-Identifier: Apache-2.0
#include "outcome.hpp"

#include <iterator>
#include <set>
#include <tuple>
#include <utility>

#include "base/printable.hpp"

namespace imaged {

using nlohmann::json;

namespace {

// What is left of a text in an outcome that is too long.
constexpr std::size_t max_text_bytes = 256;

std::size_t text_size(const json& value) {
    return json_text(value).size();
}

void shorten_texts(json& value) {
    if (value.is_string()) {
        auto& text = value.get_ref<std::string&>();
        if (text.size() > max_text_bytes) text = text.substr(0, max_text_bytes) + "…";
    } else if (value.is_structured()) {
        for (auto& member : value) shorten_texts(member);
    }
}

// Takes away about half of the entries of VALUE.
void halve(json& value) {
    if (value.is_array()) {
        value.erase(value.begin() + static_cast<std::ptrdiff_t>(value.size() / 2), value.end());
    } else if (value.is_object() && value.size() == 1) {
        halve(value.begin().value());
    } else if (value.is_object()) {
        for (auto left = value.size() / 2; left > 0; --left) value.erase(std::prev(value.end()));
    } else {
        value = nullptr;
    }
}

constexpr const char* changes_key = "changes";

json::iterator largest_member(json& object) {
    auto largest = object.begin();
    std::size_t largest_size = 0;
    for (auto member = object.begin(); member != object.end(); ++member) {
        const auto size = text_size(*member);
        if (size > largest_size) std::tie(largest, largest_size) = std::pair(member, size);
    }
    return largest;
}

// TEXT as a member that is absent if it is empty.
std::optional<std::string> unless_empty(const std::string& text) {
    return text.empty() ? std::nullopt : std::optional(text);
}

// For ImageChanged, if NAME is stored as another manifest now.
void add_change(job::Result& result, bool changed, const std::string& name, const std::optional<Digest>& previous,
                const Digest& digest) {
    if (changed && previous != digest) result.changed_images.push_back({name, text_of(previous), digest.text()});
}

// As many as go over the bus; the rest is counted only.
constexpr std::size_t max_listed_packages = 10'000;

std::vector<job::PackageChange> listed(const std::vector<PackageChange>& changes) {
    std::vector<job::PackageChange> list;
    for (const auto& change : changes) {
        if (list.size() == max_listed_packages) break;
        list.push_back({change.name, unless_empty(change.architecture), std::string(to_string(change.format)),
                        change.from, change.to});
    }
    return list;
}

std::uint32_t total(std::size_t size) {
    return static_cast<std::uint32_t>(size);
}

// Of an image or a delta.
template <typename Request, typename Exported>
job::ExportOutcome common_outcome(const Request& request, const Exported& exported) {
    job::ExportOutcome outcome;
    outcome.image = request.image.image();
    outcome.destination = request.destination.image();
    outcome.digest = exported.digest.text();
    outcome.original_digest = exported.original.text();
    outcome.layers = exported.layers;
    outcome.layers_kept = exported.layers_kept;
    outcome.bytes_written = exported.bytes_written;
    return outcome;
}

}  // namespace

std::optional<std::string> text_of(const std::optional<Digest>& digest) {
    return digest ? std::optional(digest->text()) : std::nullopt;
}

HeldJson fitting_outcome(json details) {
    // What the note of it takes.
    constexpr std::size_t most = job::max_outcome_bytes - 4096;
    if (text_size(details) <= most) return HeldJson(std::move(details));
    shorten_texts(details);
    std::set<std::string> truncated;
    while (text_size(details) > most) {
        auto largest = largest_member(details);
        // What an update brings is an outcome of its own.
        if (largest.key() == changes_key) largest = largest_member(*largest);
        truncated.insert(largest.key());
        halve(*largest);
    }
    if (!truncated.empty()) details[job::key::truncated] = truncated;
    return HeldJson(std::move(details));
}

job::Result prepare_result(const ImportRequest& request, const PreparedImage& prepared) {
    const auto& [source, plan] = prepared;
    job::PrepareOutcome outcome;
    outcome.image = request.image.canonical();
    outcome.digest = source.digest.text();
    outcome.previous_digest = text_of(plan.previous_digest);
    outcome.image_id = source.manifest.config.digest.text();
    if (plan.previous) outcome.previous_image_id = plan.previous->manifest.config.digest.text();
    outcome.architecture = source.config.architecture;
    outcome.os = source.config.os;
    outcome.up_to_date = plan.up_to_date;
    outcome.version = source.config.version();
    outcome.layout = source.layout.ostree ? "ostree" : "generic";
    outcome.signature_policy = source.signature_policy;
    for (std::size_t i = 0; i < source.layout.layers.size(); ++i) {
        const auto& layer = source.layout.layers[i];
        const bool present = plan.present[i].has_value();
        outcome.layers.push_back({layer.blob.digest.text(), layer.blob.size, std::string(to_string(layer.kind)),
                                  present, source.config.created_by[i]});
        ++(present ? outcome.layers_present : outcome.layers_missing);
    }
    outcome.bytes_to_fetch = plan.bytes_to_fetch;
    return success(outcome);
}

job::ChangesOutcome changes_outcome(const ImageReference& image, const ImageChanges& changes) {
    job::ChangesOutcome outcome;
    outcome.image = image.image();
    outcome.from_digest = changes.from.digest;
    outcome.from_version = changes.from.version;
    outcome.from_commit = changes.from.commit;
    outcome.to_digest = changes.to.digest;
    outcome.to_version = changes.to.version;
    outcome.to_commit = changes.to.commit;
    outcome.unknown = changes.unknown;
    outcome.kernels_added = changes.kernels_added;
    outcome.kernels_removed = changes.kernels_removed;
    outcome.packages_from = total(changes.packages_from);
    outcome.packages_to = total(changes.packages_to);
    outcome.changed_total = total(changes.packages.changed.size());
    outcome.added_total = total(changes.packages.added.size());
    outcome.removed_total = total(changes.packages.removed.size());
    outcome.packages_changed = listed(changes.packages.changed);
    outcome.packages_added = listed(changes.packages.added);
    outcome.packages_removed = listed(changes.packages.removed);
    for (const auto& [side, unread] : {std::pair("from", &changes.unread_from), {"to", &changes.unread_to}})
        for (const auto& database : *unread) outcome.packages_unread.push_back({side, database.path, database.error});
    outcome.etc_changed = changes.etc.changed;
    outcome.etc_added = changes.etc.added;
    outcome.etc_removed = changes.etc.removed;
    outcome.etc_truncated = changes.etc.truncated;
    outcome.etc_unknown = changes.etc_unknown;
    return outcome;
}

job::Result changes_result(const ImageReference& image, const ImageChanges& changes) {
    return success(changes_outcome(image, changes));
}

job::Result check_result(const ImportRequest& request, const CheckedUpdate& checked,
                         const std::optional<ImageChanges>& changes) {
    job::CheckOutcome outcome;
    outcome.image = request.target.value_or(request.image).image();
    outcome.digest = checked.digest.text();
    outcome.update_available = checked.update.has_value();
    if (checked.update) {
        const auto& [source, plan] = *checked.update;
        outcome.update_digest = source.digest.text();
        outcome.update_version = source.config.version();
        outcome.signature_policy = source.signature_policy;
        outcome.layers_missing = static_cast<std::uint32_t>(plan.missing);
        outcome.bytes_to_fetch = plan.missing_bytes;
        if (changes) outcome.changes = changes_outcome(request.target.value_or(request.image), *changes);
    }
    auto result = success(outcome);
    if (checked.is_news)
        result.found_updates.push_back({outcome.image, outcome.digest, *outcome.update_digest, outcome.update_version});
    return result;
}

job::Result import_result(const ImportRequest& request, const ImportedImage& imported,
                          const std::vector<std::string>& layers_dropped) {
    const auto& image = imported.image;
    job::PullOutcome outcome;
    outcome.image = request.target.value_or(request.image).image();
    describe_image(outcome, image);
    outcome.previous_digest = text_of(imported.previous_digest);
    outcome.image_id = image.manifest.config.digest.text();
    outcome.architecture = image.config.architecture;
    outcome.os = image.config.os;
    outcome.changed = imported.changed;
    outcome.layers = total(image.layout.layers.size());
    outcome.layers_fetched = imported.layers_fetched;
    outcome.bytes_fetched = imported.bytes_fetched;
    outcome.bytes_reused = imported.bytes_reused;
    outcome.objects_written = imported.objects.objects_written;
    outcome.objects_reused = imported.objects.objects_reused;
    outcome.bytes_written = imported.objects.bytes_written;
    outcome.objects_reflinked = imported.objects.objects_reflinked;
    outcome.filtered = image.filtered;
    outcome.special_files_dropped = image.dropped.special_files;
    outcome.names_dropped = image.dropped.names;
    outcome.attributes_dropped = image.dropped.attributes;
    outcome.layers_dropped = layers_dropped;
    outcome.relabelled = imported.relabelled;
    outcome.signature_policy = imported.signature_policy;
    outcome.layers_partial = imported.layers_partial;
    outcome.bytes_saved = imported.bytes_saved;
    for (const auto& reason : imported.fetched_whole) outcome.fetched_whole.push_back(printable(reason));
    outcome.delta = text_of(imported.delta);
    outcome.delta_layers = imported.delta_layers;
    outcome.delta_bytes = imported.delta_bytes;
    auto result = success(outcome);
    add_change(result, imported.changed, outcome.image, imported.previous_digest, image.digest);
    return result;
}

job::Result copy_result(const CopyRequest& request, bool into_ours, const CopiedImage& copied) {
    const auto& image = copied.image;
    job::CopyOutcome outcome;
    outcome.image = request.target.value_or(request.image).image();
    outcome.repository = request.destination;
    describe_image(outcome, image);
    outcome.previous_digest = text_of(copied.previous_digest);
    outcome.changed = copied.changed;
    outcome.layers = total(image.layout.layers.size());
    outcome.objects_linked = copied.objects.linked;
    outcome.objects_reflinked = copied.objects.reflinked;
    outcome.objects_copied = copied.objects.copied;
    outcome.objects_present = copied.objects.present;
    outcome.bytes_copied = copied.objects.bytes_copied;
    auto result = success(outcome);
    add_change(result, into_ours && copied.changed, outcome.image, copied.previous_digest, image.digest);
    return result;
}

job::Result export_result(const ExportRequest& request, const ExportedImage& exported) {
    auto outcome = common_outcome(request, exported);
    outcome.digest_kept = exported.digest == exported.original;
    return success(outcome);
}

job::Result delta_result(const DeltaRequest& request, const ExportedDelta& exported) {
    auto outcome = common_outcome(request, exported);
    outcome.delta_from = request.from.image();
    outcome.layers_made = exported.layers_made;
    outcome.layers_whole = exported.layers_whole;
    outcome.bytes_replaced = exported.bytes_replaced;
    return success(outcome);
}

}  // namespace imaged
