// SPDX-License-Identifier: Apache-2.0
#include "answer.hpp"
#include "job-verb.hpp"
#include "json-output.hpp"
#include "ui/display-text.hpp"
#include "ui/table.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

using Deployment = imaged::job::ImageDeployment;

constexpr std::size_t shown_checksum = 12;

std::string state(const Deployment& deployment) {
    std::string text;
    for (const auto& [is, name] : {std::pair(deployment.booted, "booted"),
                                   {deployment.pending, "pending"},
                                   {deployment.rollback, "rollback"},
                                   {deployment.staged, "staged"},
                                   {deployment.pinned, "pinned"}})
        if (is) text += (text.empty() ? "" : ",") + std::string(name);
    return text.empty() ? "-" : text;
}

std::string text(const std::vector<Dictionary>& deployments, bool legend) {
    std::vector<Column> columns = {{"STATEROOT"}, {"DEPLOYMENT"}, {"STATE"}, {.title = "IMAGE", .may_be_long = true},
                                   {"DIGEST"},    {"VERSION"}};
    std::vector<std::vector<std::string>> rows;
    rows.reserve(deployments.size());
    bool wrong = false;
    for (const auto& dictionary : deployments) {
        const auto deployment = read_answer<Deployment>(dictionary);
        wrong |= deployment.error.has_value();
        // What it follows: an image, a reference that is none, or a ref.
        const auto& origin = deployment.image       ? deployment.image
                             : deployment.reference ? deployment.reference
                                                    : deployment.refspec;
        rows.push_back({deployment.stateroot,
                        deployment.checksum.substr(0, shown_checksum) + "." + std::to_string(deployment.serial),
                        state(deployment), origin.value_or("-"), short_digest(deployment.digest.value_or("-")),
                        deployment.version.value_or("-"), deployment.error.value_or("")});
    }
    if (wrong) columns.push_back({"ERROR"});
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
