// SPDX-License-Identifier: Apache-2.0
#include "outcome.hpp"

#include <iterator>
#include <set>
#include <string>
#include <tuple>
#include <utility>

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

}  // namespace

void fit_outcome(json& details) {
    // What the note of it takes.
    constexpr std::size_t most = job::max_outcome_bytes - 4096;
    if (text_size(details) <= most) return;
    shorten_texts(details);
    std::set<std::string> truncated;
    while (text_size(details) > most) {
        auto largest = details.begin();
        std::size_t largest_size = 0;
        for (auto member = details.begin(); member != details.end(); ++member) {
            const auto size = text_size(*member);
            if (size > largest_size) std::tie(largest, largest_size) = std::pair(member, size);
        }
        truncated.insert(largest.key());
        halve(*largest);
    }
    if (!truncated.empty()) details["truncated"] = truncated;
}

job::Result success(json details) {
    fit_outcome(details);
    job::Result result;
    result.outcome = job::Outcome::success;
    result.details = std::move(details);
    return result;
}

namespace {

// What names the machine that the image is for, and the image's id, as other tools call the digest of its config.
void add_platform(json& details, const Manifest& manifest, const ImageConfig& config) {
    details["image-id"] = manifest.config.digest.text();
    if (!config.architecture.empty()) details["architecture"] = config.architecture;
    if (!config.os.empty()) details["os"] = config.os;
}

}  // namespace

job::Result prepare_result(const ImportRequest& request, const PreparedImage& prepared) {
    const auto& [source, plan] = prepared;
    auto layers = json::array();
    for (std::size_t i = 0; i < source.layout.layers.size(); ++i) {
        const auto& layer = source.layout.layers[i];
        json entry{{"digest", layer.blob.digest.text()},
                   {"size", layer.blob.size},
                   {"kind", to_string(layer.kind)},
                   {"present", plan.present[i].has_value()}};
        if (const auto& created_by = source.config.created_by[i]) entry["created-by"] = *created_by;
        layers.push_back(std::move(entry));
    }
    std::size_t missing = 0;
    for (const auto& present : plan.present) missing += present ? 0 : 1;
    json details{{"image", request.image.canonical()},
                 {"digest", source.digest.text()},
                 {"up-to-date", plan.up_to_date},
                 {"layout", source.layout.ostree ? "ostree" : "generic"},
                 {"signature-policy", source.signature_policy},
                 {"layers", std::move(layers)},
                 {"layers-present", plan.present.size() - missing},
                 {"layers-missing", missing},
                 {"bytes-to-fetch", plan.missing_bytes}};
    if (plan.previous_digest) details["previous-digest"] = *plan.previous_digest;
    if (plan.previous) details["previous-image-id"] = plan.previous->manifest.config.digest.text();
    add_platform(details, source.manifest, source.config);
    if (const auto version = source.config.version()) details["version"] = *version;
    return success(std::move(details));
}

job::Result check_result(const ImportRequest& request, const CheckedUpdate& checked) {
    json details{{"image", request.target.value_or(request.image).image()},
                 {"digest", checked.digest},
                 {"update-available", checked.update.has_value()}};
    if (checked.update) {
        const auto& [source, plan] = *checked.update;
        details["update-digest"] = source.digest.text();
        if (const auto version = source.config.version()) details["update-version"] = *version;
        details["signature-policy"] = source.signature_policy;
        details["layers-missing"] = plan.missing;
        details["bytes-to-fetch"] = plan.missing_bytes;
    }
    auto found = json::array();
    if (checked.is_news)
        found.push_back({{"image", details["image"]},
                         {"digest", details["digest"]},
                         {"update-digest", details["update-digest"]},
                         {"update-version", details.value("update-version", "")}});
    auto result = success(std::move(details));
    result.found_updates = std::move(found);
    return result;
}

job::Result import_result(const ImportRequest& request, const ImportedImage& imported,
                          const std::vector<std::string>& layers_dropped) {
    const auto& image = imported.image;
    const auto name = request.target.value_or(request.image).image();
    json details{{"image", name},
                 {"digest", image.digest.text()},
                 {"changed", imported.changed},
                 {"commit", image.deployable().hex()},
                 {"merge-commit", image.merge_commit.hex()},
                 {"layers", image.layout.layers.size()},
                 {"layers-fetched", imported.layers_fetched},
                 {"bytes-fetched", imported.bytes_fetched},
                 {"bytes-reused", imported.bytes_reused},
                 {"objects-written", imported.objects_written},
                 {"objects-reused", imported.objects_reused},
                 {"bytes-written", imported.bytes_written},
                 {"filtered", image.filtered},
                 {"layers-dropped", layers_dropped},
                 {"special-files-dropped", image.dropped.special_files},
                 {"names-dropped", image.dropped.names},
                 {"attributes-dropped", image.dropped.attributes},
                 {"relabelled", imported.relabelled},
                 {"signature-policy", imported.signature_policy}};
    if (imported.previous_digest) details["previous-digest"] = *imported.previous_digest;
    add_platform(details, image.manifest, image.config);
    if (image.base_commit) details["base-commit"] = image.base_commit->hex();
    if (const auto version = image.config.version()) details["version"] = *version;
    auto result = success(std::move(details));
    if (imported.changed && imported.previous_digest != image.digest.text())
        result.changed_images.push_back(
            {{"image", name}, {"old", imported.previous_digest.value_or("")}, {"new", image.digest.text()}});
    return result;
}

job::Result copy_result(const CopyRequest& request, bool into_ours, const CopiedImage& copied) {
    const auto& image = copied.image;
    const auto& objects = copied.objects;
    const auto name = request.target.value_or(request.image).image();
    json details{{"image", name},
                 {"repository", request.destination},
                 {"digest", image.digest.text()},
                 {"changed", copied.changed},
                 {"commit", image.deployable().hex()},
                 {"merge-commit", image.merge_commit.hex()},
                 {"layers", image.layout.layers.size()},
                 {"objects-linked", objects.linked},
                 {"objects-reflinked", objects.reflinked},
                 {"objects-copied", objects.copied},
                 {"objects-present", objects.present},
                 {"bytes-copied", objects.bytes_copied}};
    if (copied.previous_digest) details["previous-digest"] = *copied.previous_digest;
    if (image.base_commit) details["base-commit"] = image.base_commit->hex();
    if (const auto version = image.config.version()) details["version"] = *version;
    auto result = success(std::move(details));
    if (into_ours && copied.changed && copied.previous_digest != image.digest.text())
        result.changed_images.push_back(
            {{"image", name}, {"old", copied.previous_digest.value_or("")}, {"new", image.digest.text()}});
    return result;
}

job::Result export_result(const ExportRequest& request, const ExportedImage& exported) {
    return success({{"image", request.image.image()},
                    {"destination", request.destination.image()},
                    {"digest", exported.digest.text()},
                    {"original-digest", exported.original.text()},
                    {"digest-kept", exported.digest == exported.original},
                    {"layers", exported.layers},
                    {"layers-kept", exported.layers_kept},
                    {"bytes-written", exported.bytes_written}});
}

}  // namespace imaged
