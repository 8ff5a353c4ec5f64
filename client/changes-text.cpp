// SPDX-License-Identifier: Apache-2.0
#include "changes-text.hpp"

#include <algorithm>
#include <vector>

#include "ui/display-text.hpp"

namespace imagectl {

namespace {

namespace job = imaged::job;

// Of each list; what is there beside them is counted.
constexpr std::size_t shown_entries = 20;
constexpr std::size_t shown_checksum = 12;

// "12.2, 9d3c5f0a7b21": what a person knows a version by.
std::string version_text(const std::optional<std::string>& version, const std::optional<std::string>& digest,
                         const std::optional<std::string>& commit) {
    auto text = escaped(version.value_or(""));
    auto name = short_digest(digest.value_or(""));
    if (name.empty()) name = commit.value_or("").substr(0, shown_checksum);
    if (!name.empty()) text += (text.empty() ? "" : ", ") + escaped(name);
    return text.empty() ? "?" : text;
}

class ChangesText {
public:
    ChangesText(const job::ChangesOutcome& changes, bool all) : changes_(changes), all_(all) {}

    std::string run() {
        text_ = escaped(changes_.image) + ": " +
                version_text(changes_.from_version, changes_.from_digest, changes_.from_commit) + " → " +
                version_text(changes_.to_version, changes_.to_digest, changes_.to_commit) + "\n";
        const auto heading = text_.size();
        kernels();
        if (changes_.unknown) return text_ + "Packages: " + escaped(*changes_.unknown) + "\n";
        packages("Changed", changes_.packages_changed, changes_.changed_total);
        packages("Added", changes_.packages_added, changes_.added_total);
        packages("Removed", changes_.packages_removed, changes_.removed_total);
        for (const auto& database : changes_.packages_unread)
            text_ += "Not read (" + escaped(database.side) + "): " + escaped(database.path) + ": " +
                     escaped(database.error) + "\n";
        etc();
        const bool etc_unknown = changes_.etc_unknown;
        const bool without = changes_.packages_unread.empty() && changes_.packages_from == 0 &&
                             changes_.packages_to == 0 && changes_.packages_changed.empty();
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
        const auto joined = [&](const std::vector<std::string>& kernels) {
            std::string names;
            for (const auto& name : kernels) names += (names.empty() ? "" : ", ") + escaped(name);
            return names.empty() ? "none" : names;
        };
        if (changes_.kernels_added.empty() && changes_.kernels_removed.empty()) return;
        text_ += "Kernel: " + joined(changes_.kernels_removed) + " → " + joined(changes_.kernels_added) + "\n";
    }

    void packages(const char* title, const std::vector<job::PackageChange>& entries, std::size_t all) {
        const auto total = std::max(all, entries.size());
        if (total == 0) return;
        text_ += std::string(title) + ", " + std::to_string(total) + (total == 1 ? " package:\n" : " packages:\n");
        const auto shown = all_ ? entries.size() : std::min(entries.size(), shown_entries);
        for (std::size_t i = 0; i < shown; ++i) text_ += "  " + package(entries[i]) + "\n";
        if (shown < total) more(std::to_string(total - shown) + " ", shown < entries.size());
    }

    static std::string package(const job::PackageChange& entry) {
        auto line = escaped(entry.name);
        if (entry.architecture) line += " (" + escaped(*entry.architecture) + ")";
        if (entry.from) line += " " + escaped(*entry.from);
        if (entry.from && entry.to) line += " →";
        if (entry.to) line += " " + escaped(*entry.to);
        return line;
    }

    void etc() {
        std::vector<std::string> lines;
        for (const auto& [mark, paths] :
             {std::pair("~ ", &changes_.etc_changed), {"+ ", &changes_.etc_added}, {"- ", &changes_.etc_removed}})
            for (const auto& path : *paths) lines.push_back(mark + escaped(path));
        const bool cut = changes_.etc_truncated;
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

    const job::ChangesOutcome& changes_;
    const bool all_;
    std::string text_;
};

}  // namespace

std::string changes_text(const job::ChangesOutcome& changes, bool all) {
    return ChangesText(changes, all).run();
}

}  // namespace imagectl
