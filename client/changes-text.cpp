// SPDX-License-Identifier: Apache-2.0
#include "changes-text.hpp"

#include <algorithm>
#include <vector>

#include "ui/display-text.hpp"

namespace imagectl {

namespace {

// Of each list; what is there beside them is counted.
constexpr std::size_t shown_entries = 20;
constexpr std::size_t shown_checksum = 12;

// "12.2, 9d3c5f0a7b21": what a person knows a version by.
std::string version_text(const Dictionary& changes, const std::string& side) {
    std::string text;
    if (const auto version = changes.text((side + "-version").c_str())) text = escaped(*version);
    auto name = short_digest(changes.text((side + "-digest").c_str()).value_or(""));
    if (name.empty()) name = changes.text((side + "-commit").c_str()).value_or("").substr(0, shown_checksum);
    if (!name.empty()) text += (text.empty() ? "" : ", ") + escaped(name);
    return text.empty() ? "?" : text;
}

class ChangesText {
public:
    ChangesText(const Dictionary& changes, bool all) : changes_(changes), all_(all) {}

    std::string run() {
        text_ = escaped(changes_.text("image").value_or("?")) + ": " + version_text(changes_, "from") + " → " +
                version_text(changes_, "to") + "\n";
        const auto heading = text_.size();
        kernels();
        if (const auto why = changes_.text("unknown")) return text_ + "Packages: " + escaped(*why) + "\n";
        packages("Changed", "packages-changed", "changed-total");
        packages("Added", "packages-added", "added-total");
        packages("Removed", "packages-removed", "removed-total");
        for (const auto& database : changes_.list("packages-unread"))
            text_ += "Not read (" + escaped(database.text("side").value_or("?")) +
                     "): " + escaped(database.text("path").value_or("?")) + ": " +
                     escaped(database.text("error").value_or("?")) + "\n";
        etc();
        const bool etc_unknown = changes_.flag("etc-unknown") == true;
        const bool unread = !changes_.list("packages-unread").empty();
        const bool without = !unread && changes_.number("packages-from") == 0U && changes_.number("packages-to") == 0U;
        if (text_.size() == heading)
            text_ += std::string("The same kernels") +
                     (without       ? ""
                      : etc_unknown ? " and packages"
                                    : ", packages") +
                     (etc_unknown ? ".\n" : " and files of /etc.\n");
        if (etc_unknown) text_ += "Files of /etc: known after the pull.\n";
        if (without) text_ += "Packages: none are listed, by a database of dpkg or rpm, in either version.\n";
        return std::move(text_);
    }

private:
    void kernels() {
        const auto joined = [&](const char* key) {
            std::string names;
            for (const auto& name : changes_.words(key)) names += (names.empty() ? "" : ", ") + escaped(name);
            return names.empty() ? "none" : names;
        };
        if (changes_.words("kernels-added").empty() && changes_.words("kernels-removed").empty()) return;
        text_ += "Kernel: " + joined("kernels-removed") + " → " + joined("kernels-added") + "\n";
    }

    void packages(const char* title, const char* key, const char* total_key) {
        const auto entries = changes_.list(key);
        const auto total = std::max<std::uint64_t>(changes_.number(total_key).value_or(0), entries.size());
        if (total == 0) return;
        text_ += std::string(title) + ", " + std::to_string(total) + (total == 1 ? " package:\n" : " packages:\n");
        const auto shown = all_ ? entries.size() : std::min(entries.size(), shown_entries);
        for (std::size_t i = 0; i < shown; ++i) text_ += "  " + package(entries[i]) + "\n";
        if (shown < total) more(std::to_string(total - shown) + " ", shown < entries.size());
    }

    static std::string package(const Dictionary& entry) {
        auto line = escaped(entry.text("name").value_or("?"));
        if (const auto architecture = entry.text("architecture")) line += " (" + escaped(*architecture) + ")";
        const auto from = entry.text("from"), to = entry.text("to");
        if (from) line += " " + escaped(*from);
        if (from && to) line += " →";
        if (to) line += " " + escaped(*to);
        return line;
    }

    void etc() {
        std::vector<std::string> lines;
        for (const auto& [mark, key] : {std::pair("~ ", "etc-changed"), {"+ ", "etc-added"}, {"- ", "etc-removed"}})
            for (const auto& path : changes_.words(key)) lines.push_back(mark + escaped(path));
        const bool cut = changes_.flag("etc-truncated").value_or(false);
        if (lines.empty() && !cut) return;
        text_ += "Files of /etc:\n";
        const auto shown = all_ ? lines.size() : std::min(lines.size(), shown_entries);
        for (std::size_t i = 0; i < shown; ++i) text_ += "  " + lines[i] + "\n";
        if (cut || shown < lines.size())
            more(cut ? "" : std::to_string(lines.size() - shown) + " ", shown < lines.size());
    }

    // COUNT is empty if it is not known how many. Some of them can be shown if IS_CHOICE.
    void more(const std::string& count, bool is_choice) {
        text_ += "  … and " + count + "more" + (is_choice ? " (--all)\n" : "\n");
    }

    const Dictionary& changes_;
    const bool all_;
    std::string text_;
};

}  // namespace

std::string changes_text(const Dictionary& changes, bool all) {
    return ChangesText(changes, all).run();
}

}  // namespace imagectl
