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

std::string or_dash(const std::string* text) {
    return text == nullptr ? "-" : *text;
}

// What is to be said of IMAGE besides: damage, or that an update waits.
std::string state_of(const ListedImage& image) {
    const auto* const state = image.text("state");
    if (state != nullptr && *state != "ok") return *state;
    return image.text("update-digest") == nullptr ? "" : "update";
}

std::string text(const std::vector<ListedImage>& images, bool legend) {
    std::vector<Column> columns = {{"IMAGE"}, {"DIGEST"}, {"VERSION"}, {"CREATED"}, {"SIZE", true}};
    if (std::any_of(images.begin(), images.end(), [](const auto& image) { return !state_of(image).empty(); }))
        columns.push_back({"STATE"});
    std::vector<std::vector<std::string>> rows;
    for (const auto& image : images) {
        const auto created = image.number("created"), size = image.number("size");
        rows.push_back({or_dash(image.text("image")), short_digest(or_dash(image.text("digest"))),
                        or_dash(image.text("version")), created ? human_date(*created) : "-",
                        size ? human_bytes(*size) : "-", state_of(image)});
    }
    return table(columns, rows, legend);
}

constexpr VerbOption options[] = {{"no-legend", nullptr, "Print no line with the titles of the columns"}};

ExitCode run(const Arguments& arguments) {
    no_arguments(arguments);
    const auto images = listed_images(ask_for_document(arguments, "DescribeImages"));
    print_result(arguments.json ? list_json(images) : text(images, !arguments.flag("no-legend")));
    return ExitCode::ok;
}

}  // namespace

const Verb list_verb = {
    {"list", "", "List the images in the repository",
     "Lists the images that the repository holds, ordered by name. An image that cannot be read is listed as damaged,\n"
     "one whose last check found an update as update.\n"
     "\n"
     "Examples:\n"
     "  imagectl list\n"
     "  imagectl list --json\n"
     "\n",
     VerbHelp::none, options},
    run,
};

}  // namespace imagectl
