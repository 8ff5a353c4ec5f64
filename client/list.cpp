// SPDX-License-Identifier: Apache-2.0
#include "display-text.hpp"
#include "image-list.hpp"
#include "job-verb.hpp"
#include "json-output.hpp"
#include "table.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

std::string or_dash(const std::string* text) {
    return text == nullptr ? "-" : *text;
}

std::string text(const std::vector<ListedImage>& images) {
    const auto state = [](const ListedImage& image) {
        const auto* found = image.text("state");
        return found == nullptr || *found == "ok" ? "" : *found;
    };
    bool damaged = false;
    for (const auto& image : images) damaged |= !state(image).empty();
    std::vector<Column> columns = {{"IMAGE"}, {"DIGEST"}, {"VERSION"}, {"CREATED"}, {"LAYERS", true}, {"SIZE", true}};
    if (damaged) columns.push_back({"STATE"});
    std::vector<std::vector<std::string>> rows;
    for (const auto& image : images) {
        const auto created = image.number("created"), layers = image.number("layers"), size = image.number("size");
        rows.push_back({or_dash(image.text("image")), short_digest(or_dash(image.text("digest"))),
                        or_dash(image.text("version")), created ? human_time(*created) : "-",
                        layers ? std::to_string(*layers) : "-", size ? human_bytes(*size) : "-", state(image)});
    }
    return table(columns, rows);
}

ExitCode run(const Arguments& arguments) {
    if (!arguments.positional.empty()) throw UsageError("list takes no argument");
    const auto images = listed_images(ask_for_document(arguments, "DescribeImages"));
    print_result(arguments.json ? list_json(images) : text(images));
    return ExitCode::ok;
}

}  // namespace

const Verb list_verb = {
    {"list", "", "List the images in the repository",
     "Lists the images that the repository holds, ordered by name. An image that cannot be read is listed as damaged.\n"
     "\n"
     "Examples:\n"
     "  imagectl list\n"
     "  imagectl list --json\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
