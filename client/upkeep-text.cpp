// SPDX-License-Identifier: Apache-2.0
#include "upkeep-text.hpp"

#include "ui/display-text.hpp"
#include "ui/table.hpp"

namespace imagectl {

namespace {

namespace job = imaged::job;

std::string counted(std::uint64_t count, const char* one, const char* many) {
    return std::to_string(count) + " " + (count == 1 ? one : many);
}

// A line for each of RECORDS: what it is about, and what is said of it.
template <typename Record>
std::string list_text(const std::vector<Record>& records, const char* title, std::string Record::*subject,
                      std::string Record::*message) {
    std::string result;
    for (const auto& record : records)
        result += "  " + escaped(record.*subject) + ": " + escaped(record.*message) + "\n";
    return result.empty() ? result : title + (":\n" + result);
}

// A line for each of TEXTS.
std::string lines_of(const std::vector<std::string>& texts, const char* title) {
    std::string result;
    for (const auto& text : texts) result += title + (": " + escaped(text)) + "\n";
    return result;
}

std::string text_of(const job::DamagedImage& image) {
    std::string result = "Damaged: " + escaped(image.image) + "\n";
    for (const auto& problem : image.problems) {
        result += "  " + escaped(problem.message);
        if (problem.path) result += ", " + escaped(*problem.path);
        if (problem.layer) result += ", layer " + escaped(*problem.layer);
        if (problem.ref) result += ", ref " + escaped(*problem.ref);
        result += "\n";
    }
    if (image.problem_count > image.problems.size())
        result += "  and " + std::to_string(image.problem_count - image.problems.size()) + " more\n";
    return result;
}

std::string text_of(const job::RepairedImage& image) {
    return "Repaired: " + escaped(image.image) + ", " +
           counted(image.layers_fetched, "layer fetched (", "layers fetched (") + human_bytes(image.bytes_fetched) +
           ")" + (image.previous_digest != image.digest ? ", now " + escaped(image.digest) : std::string()) + "\n";
}

std::string text_of(const job::RefetchedImage& image) {
    return "Fetched anew: " + escaped(image.image) + ", " + counted(image.layers_fetched, "layer (", "layers (") +
           human_bytes(image.bytes_fetched) + ")\n";
}

std::string text_of(const job::UnverifiedImage& image) {
    return "Unverified: " + escaped(image.image) + ", " + counted(image.layers.size(), "layer", "layers") +
           " that imaged did not fetch itself" +
           (image.error ? ", and cannot fetch: " + escaped(*image.error) : "; --repair fetches them anew") + "\n";
}

std::string text_of(const job::DamagedVersion& version) {
    return "Damaged version of " + escaped(version.image) +
           ", which is kept: " + (version.digest.empty() ? "" : escaped(version.digest) + ": ") +
           escaped(version.error) + "\n";
}

template <typename Record>
std::string texts_of(const std::vector<Record>& records) {
    std::string result;
    for (const auto& record : records) result += text_of(record);
    return result;
}

}  // namespace

std::string text_of(const job::RemoveOutcome& outcome) {
    std::string result;
    for (const auto& image : outcome.removed) result += "Removed: " + escaped(image.image) + "\n";
    result += lines_of(outcome.missing, "Not stored");
    if (const auto layers = outcome.layers_dropped.size(); layers > 0)
        result += counted(layers, "layer has", "layers have") + " no user any more; prune frees the room\n";
    return result;
}

std::string text_of(const job::PruneOutcome& outcome) {
    std::vector<std::pair<std::string, std::string>> lines{
        {outcome.dry_run ? "Would free" : "Freed",
         human_bytes(outcome.bytes) + " (" + std::to_string(outcome.bytes) + ")"},
        {"Layers", std::to_string(outcome.layers_dropped.size())},
        {"Objects", std::to_string(outcome.objects) + " of " + std::to_string(outcome.objects_total)}};
    if (const auto foreign = outcome.foreign_commits; foreign > 0)
        lines.emplace_back("Kept", counted(foreign, "commit", "commits") + " of other programs that no ref names");
    return fields(lines) +
           list_text(outcome.damaged, "Cannot be read", &job::ImageError::image, &job::ImageError::error) +
           lines_of(outcome.warnings, "Warning");
}

std::string text_of(const job::DiskUsageOutcome& outcome) {
    std::vector<std::vector<std::string>> rows;
    const auto add = [&](const char* title, std::uint64_t count, std::uint64_t size, std::uint64_t unique_size) {
        rows.push_back({title, std::to_string(count), human_bytes(size), human_bytes(unique_size)});
    };
    add("Images", outcome.images, outcome.images_size, outcome.images_unique_size);
    add("Deployments", outcome.deployments, outcome.deployments_size, outcome.deployments_unique_size);
    add("Other refs", outcome.refs, outcome.refs_size, outcome.refs_unique_size);
    if (outcome.foreign_commits > 0)
        add("Commits without a ref", outcome.foreign_commits, outcome.foreign_commits_size,
            outcome.foreign_commits_unique_size);
    rows.push_back({"All", std::to_string(outcome.objects), human_bytes(outcome.disk_size), "-"});
    std::string result = table({{"TYPE"}, {"TOTAL", true}, {"SIZE", true}, {"UNIQUE", true}}, rows);
    rows.clear();
    for (const auto& user : outcome.others)
        rows.push_back({user.name, user.kind, human_bytes(user.disk_size), human_bytes(user.unique_size)});
    if (!rows.empty())
        result +=
            "\n" + table({{.title = "NAME", .may_be_long = true}, {"TYPE"}, {"SIZE", true}, {"UNIQUE", true}}, rows);
    result += "\n" + fields({{"Prune frees", human_bytes(outcome.prunable_size)}});
    return result + list_text(outcome.damaged, "Cannot be read, and is not counted", &job::ImageError::image,
                              &job::ImageError::error);
}

std::string text_of(const job::VerifyOutcome& outcome) {
    std::string result = "Checked " + counted(outcome.images_checked, "image", "images") + ", " +
                         counted(outcome.objects_checked, "object", "objects") + ", " +
                         human_bytes(outcome.bytes_checked) + "\n" + texts_of(outcome.damaged);
    if (outcome.repaired) result += texts_of(*outcome.repaired);
    if (outcome.refetched) result += texts_of(*outcome.refetched);
    result += texts_of(outcome.unverified);
    if (outcome.unrepaired)
        result += list_text(*outcome.unrepaired, "Not repaired", &job::ImageError::image, &job::ImageError::error);
    result += list_text(outcome.damaged_layers, "Damaged layers that no image uses", &job::DamagedLayer::digest,
                        &job::DamagedLayer::error);
    result += texts_of(outcome.damaged_kept);
    if (outcome.unchecked)
        result += list_text(*outcome.unchecked, "Not checked to the end", &job::UncheckedImage::image,
                            &job::UncheckedImage::error);
    result += list_text(outcome.notes, "Notes", &job::Note::image, &job::Note::message);
    result += lines_of(outcome.warnings, "Warning");
    if (outcome.not_recorded)
        result += "Lists do not show what was found here: " + escaped(*outcome.not_recorded) + "\n";
    return result + lines_of(outcome.missing, "Not stored") + (outcome.sound ? "No problems found\n" : "");
}

}  // namespace imagectl
