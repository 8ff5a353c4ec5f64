// SPDX-License-Identifier: Apache-2.0
#include "display-text.hpp"
#include "job-verb.hpp"
#include "json-output.hpp"
#include "table.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

std::string text(const std::vector<Dictionary>& images) {
    bool damaged = false;
    for (const auto& image : images) damaged |= image.text("state").value_or("ok") != "ok";
    std::vector<Column> columns = {{"IMAGE"}, {"DIGEST"}, {"VERSION"}, {"CREATED"}, {"LAYERS", true}, {"SIZE", true}};
    if (damaged) columns.push_back({"STATE"});
    std::vector<std::vector<std::string>> rows;
    for (const auto& image : images) {
        const auto created = image.number("created"), layers = image.number("layers"), size = image.number("size");
        const std::string state = image.text("state").value_or("ok");
        rows.push_back({image.text("image").value_or("-"), short_digest(image.text("digest").value_or("-")),
                        image.text("version").value_or("-"), created ? human_time(*created) : "-",
                        layers ? std::to_string(*layers) : "-", size ? human_bytes(*size) : "-",
                        state == "ok" ? "" : state});
    }
    return table(columns, rows);
}

ExitCode run(const Arguments& arguments) {
    if (!arguments.positional.empty()) throw UsageError("list takes no argument");
    const auto images = ask_for_list(arguments, "ListImages");
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
