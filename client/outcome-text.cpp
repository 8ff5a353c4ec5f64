// SPDX-License-Identifier: Apache-2.0
#include "outcome-text.hpp"

#include <algorithm>
#include <cctype>

#include "answer.hpp"
#include "changes-text.hpp"
#include "ui/display-text.hpp"
#include "ui/table.hpp"
#include "upkeep-text.hpp"

namespace imagectl {

namespace {

namespace job = imaged::job;

class Lines {
public:
    void add(const char* name, const std::string& value) { lines_.emplace_back(name, value); }
    void text(const char* name, const std::optional<std::string>& value) {
        if (value) add(name, *value);
    }
    void number(const char* name, std::optional<std::uint64_t> value) {
        if (value) add(name, std::to_string(*value));
    }
    void bytes(const char* name, std::optional<std::uint64_t> value) {
        if (value) add(name, human_bytes(*value));
    }
    void dropped(const char* name, std::uint64_t count) {
        if (count > 0) number(name, count);
    }
    void platform(const std::optional<std::string>& os, const std::optional<std::string>& architecture) {
        if (os || architecture) add("Platform", os.value_or("?") + "/" + architecture.value_or("?"));
    }
    // What the image was before a job that may store it.
    void previous(bool changed, const std::optional<std::string>& digest) {
        if (!changed) return add("Changed", "no, the image was there already");
        text("Previous", digest);
    }
    std::string str() const { return fields(lines_); }

private:
    std::vector<std::pair<std::string, std::string>> lines_;
};

std::string counted(std::uint64_t count, const char* what) {
    return std::to_string(count) + what;
}

std::string filtered_text(const job::FilteredPaths& filtered) {
    std::string result;
    for (const auto& [layer, paths] : filtered)
        for (const auto& [path, count] : paths)
            result += "  " + escaped(short_digest(layer)) + "  " + escaped(path) + "  " +
                      counted(count, count == 1 ? " entry\n" : " entries\n");
    return result.empty() ? result : "Not kept by the store format:\n" + result;
}

std::string version_note(const std::optional<std::string>& version) {
    return version ? ", version " + escaped(*version) : std::string();
}

std::string state_of(const job::LayerSummary& layer) {
    return layer.present ? "present" : "missing";
}
std::string state_of(const job::LayerAnswer& layer) {
    return fit(layer.commit.value_or("gone"), 13);
}

template <typename Layer>
std::string layer_table(const std::vector<Layer>& layers, const char* state) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& layer : layers)
        rows.push_back({short_digest(layer.digest), layer.kind, human_bytes(layer.size), state_of(layer),
                        fit(escaped(layer.created_by.value_or("")), 60)});
    return table({{"LAYER"}, {"KIND"}, {"SIZE", true}, {state}, {"CREATED BY"}}, rows);
}

std::string truncation_note(const Dictionary& outcome) {
    std::string names;
    for (const auto& name : outcome.words(job::key::truncated)) names += (names.empty() ? "" : ", ") + escaped(name);
    return names.empty() ? names : "Not everything is listed, because the result was too long: " + names + "\n";
}

std::string text_of(const job::PullOutcome& outcome) {
    Lines lines;
    lines.text("Image", outcome.image);
    lines.text("Version", outcome.version);
    lines.text("Digest", outcome.digest);
    lines.previous(outcome.changed, outcome.previous_digest);
    lines.text("Commit", outcome.commit);
    lines.add("Layers",
              counted(outcome.layers, ", ") + counted(outcome.layers_fetched, " fetched") +
                  (outcome.layers_partial > 0 ? ", " + counted(outcome.layers_partial, " of them in part") : "") +
                  (outcome.delta_layers > 0 ? ", " + counted(outcome.delta_layers, " of them by a delta") : ""));
    for (const auto& layer : outcome.fetched_whole) lines.add("Fetched as a whole", layer);
    lines.add("Fetched", human_bytes(outcome.bytes_fetched) + ", " + human_bytes(outcome.bytes_reused) + " reused");
    lines.add("Objects", counted(outcome.objects_written, " written (") + human_bytes(outcome.bytes_written) + "), " +
                             counted(outcome.objects_reused, " reused"));
    lines.dropped("SELinux labels changed", outcome.relabelled);
    lines.dropped("Special files dropped", outcome.special_files_dropped);
    lines.dropped("Names dropped (not UTF-8)", outcome.names_dropped);
    lines.dropped("Attributes dropped", outcome.attributes_dropped);
    return lines.str() + filtered_text(outcome.filtered);
}

std::string text_of(const job::RollbackOutcome& outcome) {
    Lines lines;
    lines.text("Image", outcome.image);
    lines.text("Version", outcome.version);
    lines.text("Digest", outcome.digest);
    lines.text("Previous", outcome.previous_digest);
    lines.text("Commit", outcome.commit);
    return lines.str();
}

std::string text_of(const job::CopyOutcome& outcome) {
    Lines lines;
    lines.text("Image", outcome.image);
    lines.text("Repository", outcome.repository);
    lines.text("Version", outcome.version);
    lines.text("Digest", outcome.digest);
    lines.previous(outcome.changed, outcome.previous_digest);
    lines.text("Commit", outcome.commit);
    lines.number("Layers", outcome.layers);
    lines.add("Objects", counted(outcome.objects_linked, " linked, ") +
                             counted(outcome.objects_reflinked, " reflinked, ") +
                             counted(outcome.objects_copied, " copied (") + human_bytes(outcome.bytes_copied) + "), " +
                             counted(outcome.objects_present, " there already"));
    return lines.str();
}

std::string text_of(const job::CheckOutcome& outcome) {
    Lines lines;
    lines.text("Image", outcome.image);
    lines.text("Digest", outcome.digest);
    lines.add("Update", outcome.update_available ? "yes" : "none");
    lines.text("Update version", outcome.update_version);
    lines.text("Update digest", outcome.update_digest);
    lines.text("Signatures", outcome.signature_policy);
    lines.number("Layers missing", outcome.layers_missing);
    lines.bytes("To fetch", outcome.bytes_to_fetch);
    return lines.str();
}

std::string text_of(const job::CheckImagesOutcome& outcome) {
    std::string result;
    for (const auto& image : outcome.updates)
        result += escaped(image.image) + ": there is an update" + version_note(image.update_version) + ", " +
                  human_bytes(image.bytes_to_fetch) + " to fetch\n";
    for (const auto& image : outcome.unchecked)
        result += escaped(image.image) + ": cannot be checked: " + escaped(image.error) + "\n";
    const auto updates = outcome.updates.size();
    return result + counted(outcome.images_checked, outcome.images_checked == 1 ? " image" : " images") + " checked, " +
           counted(updates, updates == 1 ? " update\n" : " updates\n");
}

std::string delta_text(const job::ExportOutcome& outcome) {
    Lines lines;
    lines.text("From", outcome.delta_from);
    lines.text("To", outcome.image);
    lines.text("Digest", outcome.original_digest);
    lines.text("Destination", outcome.destination);
    lines.text("Delta", outcome.digest);
    lines.add("Layers", counted(outcome.layers, ", ") + counted(outcome.layers_kept, " of them in the old image, ") +
                            counted(outcome.layers_made.value_or(0), " made of its files, ") +
                            counted(outcome.layers_whole.value_or(0), " as they are"));
    lines.add("Written",
              human_bytes(outcome.bytes_written) + " in place of " + human_bytes(outcome.bytes_replaced.value_or(0)));
    return lines.str();
}

std::string text_of(const job::ExportOutcome& outcome) {
    if (outcome.delta_from) return delta_text(outcome);
    Lines lines;
    lines.text("Image", outcome.image);
    lines.text("Destination", outcome.destination);
    lines.text("Digest", outcome.digest);
    if (!outcome.digest_kept) lines.add("Stored digest", outcome.original_digest + " (could not be kept)");
    lines.add("Layers",
              counted(outcome.layers, ", ") + counted(outcome.layers_kept, " with the content digest they had"));
    lines.bytes("Written", outcome.bytes_written);
    return lines.str();
}

std::string text_of(const job::PrepareOutcome& outcome) {
    Lines lines;
    lines.text("Image", outcome.image);
    lines.text("Version", outcome.version);
    lines.text("Digest", outcome.digest);
    lines.text("Stored digest", outcome.previous_digest);
    lines.text("Image ID", outcome.image_id);
    lines.text("Stored image ID", outcome.previous_image_id);
    lines.platform(outcome.os, outcome.architecture);
    lines.add("Up to date", outcome.up_to_date ? "yes" : "no");
    lines.text("Layout", outcome.layout);
    lines.text("Signatures", outcome.signature_policy);
    lines.add("Layers", counted(outcome.layers_present, " present, ") + counted(outcome.layers_missing, " missing"));
    lines.bytes("To fetch", outcome.bytes_to_fetch);
    return lines.str() + (outcome.layers.empty() ? "" : "\n" + layer_table(outcome.layers, "STATE"));
}

// Of an outcome that has no text of its own: a line for each member that is no list of records.
class PlainLines : public job::FieldVisitor<PlainLines> {
public:
    template <typename Value>
    void operator()(const char* key, const Value& value) {
        if constexpr (job::is_optional<Value>) {
            if (value) (*this)(key, *value);
        } else if constexpr (std::is_same_v<Value, std::string>) {
            add(key, value);
        } else if constexpr (std::is_same_v<Value, bool>) {
            add(key, value ? "yes" : "no");
        } else if constexpr (std::is_integral_v<Value>) {
            add(key, std::to_string(value));
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
            for (const auto& word : value) add(key, word);
        }
    }
    std::string str() const { return fields(lines_); }

private:
    void add(std::string key, const std::string& value) {
        std::replace(key.begin(), key.end(), '-', ' ');
        key[0] = static_cast<char>(std::toupper(key[0]));
        lines_.emplace_back(key, value);
    }
    std::vector<std::pair<std::string, std::string>> lines_;
};

template <typename Outcome>
std::string text_of(const Outcome& outcome) {
    PlainLines lines;
    Outcome::fields(outcome, lines);
    return lines.str();
}

}  // namespace

std::string diff_text(const job::FileDifference& difference) {
    Lines lines;
    lines.text("From", difference.from);
    lines.text("From version", difference.from_version);
    lines.text("From digest", difference.from_digest);
    lines.text("To", difference.pending ? "the update that is waiting" : difference.to);
    lines.text("To version", difference.to_version);
    lines.text("To digest", difference.to_digest);
    std::string result;
    const auto layers = [&](const char* title, const std::vector<job::LayerSummary>& list, std::uint64_t bytes) {
        lines.add(title, counted(list.size(), list.size() == 1 ? " layer, " : " layers, ") + human_bytes(bytes));
        return list.empty() ? "" : std::string("\n") + title + ":\n" + layer_table(list, "STATE");
    };
    result += layers("Added", difference.layers_added, difference.bytes_added);
    result += layers("Removed", difference.layers_removed, difference.bytes_removed);
    layers("Kept", difference.layers_kept, difference.bytes_kept);
    for (const auto& [mark, paths] : {std::pair("+ ", &difference.files_added),
                                      {"- ", &difference.files_removed},
                                      {"~ ", &difference.files_changed}}) {
        if (!paths->empty()) result += "\n";
        for (const auto& path : *paths) result += mark + escaped(path) + "\n";
    }
    return lines.str() + result + (difference.truncated ? "… and more\n" : "");
}

std::string image_text(const job::ImageDescription& image) {
    Lines lines;
    lines.text("Image", image.image);
    lines.text("Source", image.source);
    lines.text("State", image.state);
    lines.text("Error", image.error);
    lines.text("Version", image.version);
    lines.text("Digest", image.digest);
    lines.text("Image ID", image.image_id);
    lines.platform(image.os, image.architecture);
    lines.text("Signatures", image.signature_policy);
    lines.text("Update", image.update_digest);
    for (const auto& kept : image.kept) lines.add("Kept", kept.digest + version_note(kept.version));
    lines.text("Commit", image.commit);
    lines.text("Merge commit", image.merge_commit);
    lines.text("Base commit", image.base_commit);
    if (image.created) lines.add("Created", human_time(*image.created));
    lines.number("Layers", image.layers);
    lines.bytes("Compressed", image.size);
    lines.bytes("Size", image.disk_size);
    lines.bytes("Unique", image.unique_size);
    lines.bytes("Shared", image.shared_size);
    lines.text("Importer", image.importer);
    std::string result = lines.str();
    if (!image.labels.empty()) result += "Labels:\n";
    for (const auto& [name, value] : image.labels) result += "  " + escaped(name) + "=" + escaped(value) + "\n";
    result += filtered_text(image.filtered);
    if (!image.layer_list.empty()) result += "\n" + layer_table(image.layer_list, "COMMIT");
    return result;
}

std::string outcome_text(const std::string& kind, const Dictionary& outcome, bool all) {
    std::string text;
    job::for_each_kind([&](auto other) {
        if (kind != other.traits.name) return;
        const auto answer = read_answer<typename decltype(other)::Outcome>(outcome);
        if constexpr (std::is_same_v<decltype(other), job::Changes>)
            text = changes_text(answer, all);
        else
            text = text_of(answer);
    });
    return text + truncation_note(outcome);
}

}  // namespace imagectl
