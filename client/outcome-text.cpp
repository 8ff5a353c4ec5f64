// SPDX-License-Identifier: Apache-2.0
#include "outcome-text.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "changes-text.hpp"
#include "job/json-fields.hpp"
#include "job/kinds.hpp"
#include "ui/display-text.hpp"
#include "ui/table.hpp"
#include "upkeep-text.hpp"

namespace imagectl {

namespace {

class Lines {
public:
    explicit Lines(const Dictionary& from) : from_(from) {}
    void text(const char* name, const char* key) {
        if (const auto value = from_.text(key)) add(name, *value);
    }
    void number(const char* name, const char* key) {
        if (const auto value = from_.number(key)) add(name, std::to_string(*value));
    }
    void bytes(const char* name, const char* key) {
        if (const auto value = from_.number(key)) add(name, human_bytes(*value));
    }
    void dropped(const char* name, const char* key) {
        if (from_.number(key).value_or(0) > 0) number(name, key);
    }
    void platform() {
        const auto os = from_.text("os"), architecture = from_.text("architecture");
        if (os || architecture) add("Platform", os.value_or("?") + "/" + architecture.value_or("?"));
    }
    void add(const char* name, const std::string& value) { lines_.emplace_back(name, value); }
    std::string str() const { return fields(lines_); }

private:
    const Dictionary& from_;
    std::vector<std::pair<std::string, std::string>> lines_;
};

std::string filtered_text(const Dictionary& from) {
    std::string result;
    for (const auto& [layer, paths] : from.counts("filtered"))
        for (const auto& [path, count] : paths)
            result += "  " + escaped(short_digest(layer)) + "  " + escaped(path) + "  " + std::to_string(count) +
                      (count == 1 ? " entry\n" : " entries\n");
    return result.empty() ? result : "Not kept by the store format:\n" + result;
}

std::string version_note(const std::optional<std::string>& version) {
    return version ? ", version " + *version : std::string();
}

std::string layer_table(const std::vector<Dictionary>& layers, bool presence) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& layer : layers) {
        const auto size = layer.number("size");
        std::vector<std::string> row = {short_digest(layer.text("digest").value_or("?")),
                                        layer.text("kind").value_or("-"), size ? human_bytes(*size) : "-"};
        if (presence)
            row.push_back(layer.flag("present").value_or(false) ? "present" : "missing");
        else
            row.push_back(fit(layer.text("commit").value_or("gone"), 13));
        row.push_back(fit(escaped(layer.text("created-by").value_or("")), 60));
        rows.push_back(std::move(row));
    }
    return table({{"LAYER"}, {"KIND"}, {"SIZE", true}, {presence ? "STATE" : "COMMIT"}, {"CREATED BY"}}, rows);
}

}  // namespace

namespace {

std::string truncation_note(const Dictionary& outcome) {
    std::string names;
    for (const auto& name : outcome.words("truncated")) names += (names.empty() ? "" : ", ") + escaped(name);
    return names.empty() ? names : "Not everything is listed, because the result was too long: " + names + "\n";
}

}  // namespace

std::string pull_text(const Dictionary& outcome) {
    Lines lines(outcome);
    lines.text("Image", "image");
    lines.text("Version", "version");
    lines.text("Digest", "digest");
    if (outcome.flag("changed") == false)
        lines.add("Changed", "no, the image was there already");
    else
        lines.text("Previous", "previous-digest");
    lines.text("Commit", "commit");
    if (const auto layers = outcome.number("layers")) {
        const auto partial = outcome.number("layers-partial").value_or(0);
        const auto made = outcome.number("delta-layers").value_or(0);
        lines.add("Layers", std::to_string(*layers) + ", " +
                                std::to_string(outcome.number("layers-fetched").value_or(0)) + " fetched" +
                                (partial > 0 ? ", " + std::to_string(partial) + " of them in part" : "") +
                                (made > 0 ? ", " + std::to_string(made) + " of them by a delta" : ""));
    }
    for (const auto& layer : outcome.words("fetched-whole")) lines.add("Fetched as a whole", layer);
    if (const auto fetched = outcome.number("bytes-fetched"))
        lines.add("Fetched",
                  human_bytes(*fetched) + ", " + human_bytes(outcome.number("bytes-reused").value_or(0)) + " reused");
    if (const auto written = outcome.number("objects-written"))
        lines.add("Objects", std::to_string(*written) + " written (" +
                                 human_bytes(outcome.number("bytes-written").value_or(0)) + "), " +
                                 std::to_string(outcome.number("objects-reused").value_or(0)) + " reused");
    lines.dropped("SELinux labels changed", "relabelled");
    lines.dropped("Special files dropped", "special-files-dropped");
    lines.dropped("Names dropped (not UTF-8)", "names-dropped");
    lines.dropped("Attributes dropped", "attributes-dropped");
    return lines.str() + filtered_text(outcome);
}

std::string rollback_text(const Dictionary& outcome) {
    Lines lines(outcome);
    lines.text("Image", "image");
    lines.text("Version", "version");
    lines.text("Digest", "digest");
    lines.text("Previous", "previous-digest");
    lines.text("Commit", "commit");
    return lines.str();
}

std::string copy_text(const Dictionary& outcome) {
    Lines lines(outcome);
    lines.text("Image", "image");
    lines.text("Repository", "repository");
    lines.text("Version", "version");
    lines.text("Digest", "digest");
    if (outcome.flag("changed") == false)
        lines.add("Changed", "no, the image was there already");
    else
        lines.text("Previous", "previous-digest");
    lines.text("Commit", "commit");
    lines.number("Layers", "layers");
    const auto count = [&](const char* key) { return std::to_string(outcome.number(key).value_or(0)); };
    lines.add("Objects", count("objects-linked") + " linked, " + count("objects-reflinked") + " reflinked, " +
                             count("objects-copied") + " copied (" +
                             human_bytes(outcome.number("bytes-copied").value_or(0)) + "), " +
                             count("objects-present") + " there already");
    return lines.str();
}

std::string check_text(const Dictionary& outcome) {
    Lines lines(outcome);
    lines.text("Image", "image");
    lines.text("Digest", "digest");
    if (const auto available = outcome.flag("update-available")) lines.add("Update", *available ? "yes" : "none");
    lines.text("Update version", "update-version");
    lines.text("Update digest", "update-digest");
    lines.text("Signatures", "signature-policy");
    lines.number("Layers missing", "layers-missing");
    lines.bytes("To fetch", "bytes-to-fetch");
    return lines.str();
}

std::string check_images_text(const Dictionary& outcome) {
    std::string result;
    const auto updates = outcome.list("updates");
    for (const auto& image : updates) {
        const auto version = image.text("update-version");
        result += escaped(image.text("image").value_or("?")) + ": there is an update" +
                  (version ? ", version " + escaped(*version) : "") + ", " +
                  human_bytes(image.number("bytes-to-fetch").value_or(0)) + " to fetch\n";
    }
    for (const auto& image : outcome.list("unchecked"))
        result += escaped(image.text("image").value_or("?")) +
                  ": cannot be checked: " + escaped(image.text("error").value_or("?")) + "\n";
    const auto checked = outcome.number("images-checked").value_or(0);
    return result + std::to_string(checked) + (checked == 1 ? " image" : " images") + " checked, " +
           std::to_string(updates.size()) + (updates.size() == 1 ? " update\n" : " updates\n");
}

std::string diff_text(const Dictionary& difference) {
    Lines lines(difference);
    lines.text("From", "from");
    lines.text("From version", "from-version");
    lines.text("From digest", "from-digest");
    if (difference.flag("pending").value_or(false))
        lines.add("To", "the update that is waiting");
    else
        lines.text("To", "to");
    lines.text("To version", "to-version");
    lines.text("To digest", "to-digest");
    std::string result;
    for (const auto& [title, name] : {std::pair("Added", "added"), {"Removed", "removed"}, {"Kept", "kept"}}) {
        const auto layers = difference.list((std::string("layers-") + name).c_str());
        lines.add(title, std::to_string(layers.size()) + (layers.size() == 1 ? " layer, " : " layers, ") +
                             human_bytes(difference.number((std::string("bytes-") + name).c_str()).value_or(0)));
        if (!layers.empty() && std::string_view(name) != "kept")
            result += std::string("\n") + title + ":\n" + layer_table(layers, true);
    }
    for (const auto& [mark, key] : {std::pair('+', "files-added"), {'-', "files-removed"}, {'~', "files-changed"}}) {
        const auto paths = difference.words(key);
        if (!paths.empty()) result += "\n";
        for (const auto& path : paths) result += std::string(1, mark) + " " + escaped(path) + "\n";
    }
    if (difference.flag("truncated").value_or(false)) result += "… and more\n";
    return lines.str() + result;
}

namespace {

std::string delta_text(const Dictionary& outcome) {
    Lines lines(outcome);
    lines.text("From", "delta-from");
    lines.text("To", "image");
    lines.text("Digest", "original-digest");
    lines.text("Destination", "destination");
    lines.text("Delta", "digest");
    const auto count = [&](const char* key) { return std::to_string(outcome.number(key).value_or(0)); };
    lines.add("Layers", count("layers") + ", " + count("layers-kept") + " of them in the old image, " +
                            count("layers-made") + " made of its files, " + count("layers-whole") + " as they are");
    lines.add("Written", human_bytes(outcome.number("bytes-written").value_or(0)) + " in place of " +
                             human_bytes(outcome.number("bytes-replaced").value_or(0)));
    return lines.str();
}

}  // namespace

std::string export_text(const Dictionary& outcome) {
    if (outcome.text("delta-from")) return delta_text(outcome);
    Lines lines(outcome);
    lines.text("Image", "image");
    lines.text("Destination", "destination");
    lines.text("Digest", "digest");
    if (outcome.flag("digest-kept") == false)
        lines.add("Stored digest", outcome.text("original-digest").value_or("?") + " (could not be kept)");
    if (const auto layers = outcome.number("layers"))
        lines.add("Layers", std::to_string(*layers) + ", " + std::to_string(outcome.number("layers-kept").value_or(0)) +
                                " with the content digest they had");
    lines.bytes("Written", "bytes-written");
    return lines.str();
}

std::string prepare_text(const Dictionary& outcome) {
    Lines lines(outcome);
    lines.text("Image", "image");
    lines.text("Version", "version");
    lines.text("Digest", "digest");
    lines.text("Stored digest", "previous-digest");
    lines.text("Image ID", "image-id");
    lines.text("Stored image ID", "previous-image-id");
    lines.platform();
    if (const auto current = outcome.flag("up-to-date")) lines.add("Up to date", *current ? "yes" : "no");
    lines.text("Layout", "layout");
    lines.text("Signatures", "signature-policy");
    if (const auto missing = outcome.number("layers-missing"))
        lines.add("Layers", std::to_string(outcome.number("layers-present").value_or(0)) + " present, " +
                                std::to_string(*missing) + " missing");
    lines.bytes("To fetch", "bytes-to-fetch");
    const auto layers = outcome.list("layers");
    return lines.str() + (layers.empty() ? "" : "\n" + layer_table(layers, true));
}

std::string image_text(const Dictionary& image) {
    Lines lines(image);
    lines.text("Image", "image");
    lines.text("Source", "source");
    lines.text("State", "state");
    lines.text("Error", "error");
    lines.text("Version", "version");
    lines.text("Digest", "digest");
    lines.text("Image ID", "image-id");
    lines.platform();
    lines.text("Signatures", "signature-policy");
    lines.text("Update", "update-digest");
    for (const auto& kept : image.list("kept"))
        lines.add("Kept", kept.text("digest").value_or("?") + version_note(kept.text("version")));
    lines.text("Commit", "commit");
    lines.text("Merge commit", "merge-commit");
    lines.text("Base commit", "base-commit");
    if (const auto created = image.number("created")) lines.add("Created", human_time(*created));
    lines.number("Layers", "layers");
    lines.bytes("Compressed", "size");
    lines.bytes("Size", "disk-size");
    lines.bytes("Unique", "unique-size");
    lines.bytes("Shared", "shared-size");
    lines.text("Importer", "importer");
    std::string result = lines.str();
    if (const auto labels = image.texts("labels"); !labels.empty()) {
        result += "Labels:\n";
        for (const auto& [name, value] : labels) result += "  " + escaped(name) + "=" + escaped(value) + "\n";
    }
    result += filtered_text(image);
    if (const auto layers = image.list("layer-list"); !layers.empty()) result += "\n" + layer_table(layers, false);
    return result;
}

namespace {

// An outcome that has no text of its own: a line for each member that is no list of records.
class PlainLines : public imaged::job::FieldVisitor<PlainLines> {
public:
    explicit PlainLines(const Dictionary& outcome) : outcome_(outcome) {}
    template <typename Value>
    void operator()(const char* key, const Value&) {
        if (const auto text = outcome_.text(key)) add(key, escaped(*text));
        if (const auto number = outcome_.number(key)) add(key, std::to_string(*number));
        if (const auto flag = outcome_.flag(key)) add(key, *flag ? "yes" : "no");
        for (const auto& word : outcome_.words(key)) add(key, escaped(word));
    }
    std::string str() const { return fields(lines_); }

private:
    void add(std::string key, const std::string& value) {
        std::replace(key.begin(), key.end(), '-', ' ');
        key[0] = static_cast<char>(std::toupper(key[0]));
        lines_.emplace_back(key, value);
    }
    const Dictionary& outcome_;
    std::vector<std::pair<std::string, std::string>> lines_;
};

}  // namespace

std::string outcome_text(const std::string& kind, const Dictionary& outcome, bool all) {
    if (kind == "changes") return changes_text(outcome, all) + truncation_note(outcome);
    static constexpr struct {
        std::string_view kind;
        std::string (*text)(const Dictionary&);
    } formats[] = {{"prepare", prepare_text}, {"pull", pull_text},
                   {"import", pull_text},     {"copy", copy_text},
                   {"export", export_text},   {"import-archive", pull_text},
                   {"check", check_text},     {"check-images", check_images_text},
                   {"remove", remove_text},   {"rollback", rollback_text},
                   {"prune", prune_text},     {"disk-usage", disk_usage_text},
                   {"verify", verify_text}};
    for (const auto& format : formats)
        if (format.kind == kind) return format.text(outcome) + truncation_note(outcome);
    std::string text;
    imaged::job::for_each_kind([&](auto other) {
        if (kind != other.traits.name) return;
        PlainLines lines(outcome);
        const typename decltype(other)::Outcome members;
        members.fields(members, lines);
        text = lines.str();
    });
    return text + truncation_note(outcome);
}

}  // namespace imagectl
