// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "json-output.hpp"
#include "ui/display-text.hpp"
#include "ui/table.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr std::size_t shown_checksum = 12;

std::string state(const Dictionary& deployment) {
    std::string text;
    for (const char* key : {"booted", "pending", "rollback", "staged", "pinned"})
        if (deployment.flag(key).value_or(false)) text += (text.empty() ? "" : ",") + std::string(key);
    return text.empty() ? "-" : text;
}

std::string name(const Dictionary& deployment) {
    return deployment.text("checksum").value_or("-").substr(0, shown_checksum) + "." +
           std::to_string(deployment.number("serial").value_or(0));
}

// What it follows: an image, a reference that is none, or a ref.
std::string origin(const Dictionary& deployment) {
    for (const char* key : {"image", "reference", "refspec"})
        if (const auto text = deployment.text(key)) return *text;
    return "-";
}

std::string text(const std::vector<Dictionary>& deployments, bool legend) {
    bool wrong = false;
    for (const auto& deployment : deployments) wrong |= deployment.text("error").has_value();
    std::vector<Column> columns = {{"STATEROOT"}, {"DEPLOYMENT"}, {"STATE"}, {.title = "IMAGE", .may_be_long = true},
                                   {"DIGEST"},    {"VERSION"}};
    if (wrong) columns.push_back({"ERROR"});
    std::vector<std::vector<std::string>> rows;
    rows.reserve(deployments.size());
    for (const auto& deployment : deployments)
        rows.push_back({deployment.text("stateroot").value_or("-"), name(deployment), state(deployment),
                        origin(deployment), short_digest(deployment.text("digest").value_or("-")),
                        deployment.text("version").value_or("-"), deployment.text("error").value_or("")});
    return table(columns, rows, legend);
}

constexpr VerbOption options[] = {no_legend};

ExitCode run(const Arguments& arguments) {
    if (!arguments.positional.empty()) throw UsageError("deployments takes no argument");
    const auto deployments = ask_for_list(arguments, "ListDeployments");
    print_result(arguments.json ? deployments_json(deployments) : text(deployments, !arguments.flag(no_legend.name)));
    return ExitCode::ok;
}

}  // namespace

const Verb deployments_verb = {
    {"deployments", "", "List the host's deployments and their images",
     "Lists the OSTree deployments of the host, in boot order. IMAGE is the image that a deployment "
     "follows, from its origin file; DIGEST is the manifest of the image that it was made from, from its "
     "commit.\n"
     "\n"
     "Examples:\n"
     "  imagectl deployments\n"
     "  imagectl deployments --json\n"
     "\n",
     VerbHelp::none, options},
    run,
};

}  // namespace imagectl
