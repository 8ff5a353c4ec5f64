// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "image-list.hpp"
#include "job-verb.hpp"
#include "json-output.hpp"
#include "ui/display-text.hpp"
#include "ui/table.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

std::string or_dash(const std::string_view* text) {
    return text == nullptr ? "-" : std::string(*text);
}

// What is to be said of IMAGE besides: damage, or that an update waits.
std::string state_of(const ListedImage& image) {
    const auto* const state = image.text("state");
    if (state != nullptr && *state != "ok") return std::string(*state);
    return image.text("update-digest") == nullptr ? "" : "update";
}

// What it can be rolled back to, by the names that the versions give themselves.
std::string kept_of(const ListedImage& image) {
    std::string names;
    for (const auto& kept : image.kept) {
        const auto* version = kept.text("version");
        if (!names.empty()) names += ", ";
        names += version ? std::string(*version) : short_digest(or_dash(kept.text("digest")));
    }
    return names;
}

std::string text(const ImageList& images, bool legend) {
    std::vector<Column> columns = {{.title = "IMAGE", .may_be_long = true},
                                   {"DIGEST"},
                                   {"VERSION"},
                                   {"CREATED"},
                                   {"SIZE", true},
                                   {"UNIQUE", true}};
    const auto any = [&](const auto& is) { return std::any_of(images.begin(), images.end(), is); };
    const bool any_state = any([](const auto& image) { return !state_of(image).empty(); });
    const bool any_kept = any([](const auto& image) { return !image.kept.empty(); });
    if (any_state) columns.push_back({"STATE"});
    if (any_kept) columns.push_back({"KEPT"});
    std::vector<std::vector<std::string>> rows;
    rows.reserve(images.size());
    for (const auto& image : images) {
        const auto created = image.number("created"), size = image.number("disk-size"),
                   unique = image.number("unique-size");
        auto& row = rows.emplace_back();
        row.reserve(columns.size());
        row.push_back(or_dash(image.text("image")));
        row.push_back(short_digest(or_dash(image.text("digest"))));
        row.push_back(or_dash(image.text("version")));
        row.push_back(created ? human_date(*created) : "-");
        row.push_back(size ? human_bytes(*size) : "-");
        row.push_back(unique ? human_bytes(*unique) : "-");
        if (any_state) row.push_back(state_of(image));
        if (any_kept) row.push_back(kept_of(image));
    }
    return table(columns, std::move(rows), legend);
}

constexpr VerbOption options[] = {no_legend};

ExitCode run(const Arguments& arguments) {
    no_arguments(arguments);
    const auto images = listed_images(Connection(arguments.bus));
    print_result(arguments.json ? list_json(images) : text(images, !arguments.flag(no_legend.name)));
    return ExitCode::ok;
}

}  // namespace

const Verb list_verb = {
    {"list", "", "List the images in the repository",
     "Lists the images in the repository by name. An image that cannot be read has the state damaged, an "
     "image for which the last check found an update has the state update.\n\n"
     "SIZE is the size of an image on disk; UNIQUE is the part of it that becomes free when the image is "
     "removed and 'imagectl prune' runs. Both are \"-\" after another program changed a ref, and beside "
     "more than 500 images after any change, until 'imagectl df' counts again. KEPT is the number of versions that "
     "'imagectl rollback' can return to. If the "
     "terminal is too narrow for all columns, the name has a line of its own.\n"
     "\n"
     "Examples:\n"
     "  imagectl list\n"
     "  imagectl list --json\n"
     "\n",
     VerbHelp::none, options},
    run,
};

}  // namespace imagectl
