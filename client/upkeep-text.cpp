// SPDX-License-Identifier: Apache-2.0
#include "upkeep-text.hpp"

#include "ui/display-text.hpp"
#include "ui/table.hpp"

namespace imagectl {

namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

std::string counted(std::uint64_t count, const char* one, const char* many) {
    return std::to_string(count) + " " + (count == 1 ? one : many);
}

std::uint64_t number(const Dictionary& from, const char* key) {
    return from.number(key).value_or(0);
}

std::string text(const Dictionary& from, const char* key) {
    return escaped(from.text(key).value_or("?"));
}

// A line for each record of KEY: what it is about, and what is said of it.
std::string records(const Dictionary& outcome, const char* key, const char* title, const char* subject,
                    const char* message) {
    std::string result;
    for (const auto& record : outcome.list(key))
        result += "  " + text(record, subject) + ": " + text(record, message) + "\n";
    return result.empty() ? result : title + (":\n" + result);
}

std::string missing_text(const Dictionary& outcome) {
    std::string result;
    for (const auto& image : outcome.words("missing")) result += "Not stored: " + escaped(image) + "\n";
    return result;
}

std::string warnings_text(const Dictionary& outcome) {
    std::string result;
    for (const auto& warning : outcome.words("warnings")) result += "Warning: " + escaped(warning) + "\n";
    return result;
}

std::string damage_text(const Dictionary& image) {
    std::string result = "Damaged: " + text(image, "image") + "\n";
    const auto problems = image.list("problems");
    for (const auto& problem : problems) {
        result += "  " + text(problem, "message");
        if (const auto path = problem.text("path")) result += ", " + escaped(*path);
        if (const auto layer = problem.text("layer")) result += ", layer " + escaped(*layer);
        if (const auto ref = problem.text("ref")) result += ", ref " + escaped(*ref);
        result += "\n";
    }
    if (const auto count = number(image, "problem-count"); count > problems.size())
        result += "  and " + std::to_string(count - problems.size()) + " more\n";
    return result;
}

std::string repair_text(const Dictionary& image) {
    const auto previous = image.text("previous-digest");
    const auto digest = image.text("digest");
    return "Repaired: " + text(image, "image") + ", " +
           counted(number(image, "layers-fetched"), "layer fetched (", "layers fetched (") +
           human_bytes(number(image, "bytes-fetched")) + ")" +
           (digest && previous != digest ? ", now " + escaped(*digest) : std::string()) + "\n";
}

std::string refetch_text(const Dictionary& image) {
    return "Fetched anew: " + text(image, "image") + ", " +
           counted(number(image, "layers-fetched"), "layer (", "layers (") +
           human_bytes(number(image, "bytes-fetched")) + ")\n";
}

std::string kept_text(const Dictionary& outcome) {
    std::string result;
    for (const auto& version : outcome.list("damaged-kept")) {
        const auto digest = version.text("digest").value_or("");
        result += "Damaged version of " + text(version, "image") +
                  ", which is kept: " + (digest.empty() ? "" : escaped(digest) + ": ") + text(version, "error") + "\n";
    }
    return result;
}

std::string unverified_text(const Dictionary& outcome) {
    std::string result;
    for (const auto& image : outcome.list("unverified")) {
        result += "Unverified: " + text(image, "image") + ", " +
                  counted(image.words("layers").size(), "layer", "layers") + " that imaged did not fetch itself";
        const auto error = image.text("error");
        result += error ? ", and cannot fetch: " + escaped(*error) : std::string("; --repair fetches them anew");
        result += "\n";
    }
    return result;
}

}  // namespace

std::string remove_text(const Dictionary& outcome) {
    std::string result;
    for (const auto& image : outcome.list("removed")) result += "Removed: " + text(image, "image") + "\n";
    result += missing_text(outcome);
    if (const auto layers = outcome.words("layers-dropped"); !layers.empty())
        result += counted(layers.size(), "layer has", "layers have") + " no user any more; prune frees the room\n";
    return result;
}

std::string prune_text(const Dictionary& outcome) {
    const bool dry_run = outcome.flag("dry-run").value_or(false);
    Fields lines;
    lines.emplace_back(dry_run ? "Would free" : "Freed",
                       human_bytes(number(outcome, "bytes")) + " (" + std::to_string(number(outcome, "bytes")) + ")");
    lines.emplace_back("Layers", std::to_string(outcome.words("layers-dropped").size()));
    lines.emplace_back("Objects", std::to_string(number(outcome, "objects")) + " of " +
                                      std::to_string(number(outcome, "objects-total")));
    if (const auto foreign = number(outcome, "foreign-commits"); foreign > 0)
        lines.emplace_back("Kept", counted(foreign, "commit", "commits") + " of other programs that no ref names");
    return fields(lines) + records(outcome, "damaged", "Cannot be read", "image", "error") + warnings_text(outcome);
}

std::string disk_usage_text(const Dictionary& outcome) {
    std::vector<std::vector<std::string>> rows;
    const auto add = [&](const char* title, const std::string& key) {
        const auto of = [&](const std::string& what) { return number(outcome, (key + what).c_str()); };
        rows.push_back({title, std::to_string(of("")), human_bytes(of("-size")), human_bytes(of("-unique-size"))});
    };
    add("Images", "images");
    add("Deployments", "deployments");
    add("Other refs", "refs");
    if (number(outcome, "foreign-commits") > 0) add("Commits without a ref", "foreign-commits");
    rows.push_back({"All", std::to_string(number(outcome, "objects")), human_bytes(number(outcome, "disk-size")), "-"});
    std::string result = table({{"TYPE"}, {"TOTAL", true}, {"SIZE", true}, {"UNIQUE", true}}, rows);
    rows.clear();
    for (const auto& user : outcome.list("others"))
        rows.push_back({user.text("name").value_or("?"), user.text("kind").value_or("?"),
                        human_bytes(number(user, "disk-size")), human_bytes(number(user, "unique-size"))});
    if (!rows.empty())
        result +=
            "\n" + table({{.title = "NAME", .may_be_long = true}, {"TYPE"}, {"SIZE", true}, {"UNIQUE", true}}, rows);
    result += "\n" + fields({{"Prune frees", human_bytes(number(outcome, "prunable-size"))}});
    return result + records(outcome, "damaged", "Cannot be read, and is not counted", "image", "error");
}

std::string verify_text(const Dictionary& outcome) {
    std::string result = "Checked " + counted(number(outcome, "images-checked"), "image", "images") + ", " +
                         counted(number(outcome, "objects-checked"), "object", "objects") + ", " +
                         human_bytes(number(outcome, "bytes-checked")) + "\n";
    for (const auto& image : outcome.list("damaged")) result += damage_text(image);
    for (const auto& image : outcome.list("repaired")) result += repair_text(image);
    for (const auto& image : outcome.list("refetched")) result += refetch_text(image);
    result += unverified_text(outcome);
    result += records(outcome, "unrepaired", "Not repaired", "image", "error");
    result += records(outcome, "damaged-layers", "Damaged layers that no image uses", "digest", "error");
    result += kept_text(outcome);
    result += records(outcome, "unchecked", "Not checked to the end", "image", "error");
    result += records(outcome, "notes", "Notes", "image", "message");
    result += warnings_text(outcome);
    if (const auto why = outcome.text("not-recorded"))
        result += "Lists do not show what was found here: " + escaped(*why) + "\n";
    result += missing_text(outcome);
    if (outcome.flag("sound") == true) result += "No problems found\n";
    return result;
}

}  // namespace imagectl
