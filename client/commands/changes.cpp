// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>

#include "answer.hpp"
#include "job-verb.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"from", "IMAGE", "Compare with another stored image"},
    {"kept", "DIGEST", "Compare with a version that is kept, by its digest or the beginning of it"},
    {"update", nullptr, "Show the changes of the update that the last check found"},
    {"all", nullptr, "Print complete lists"},
};

// The commit of the deployment that runs, if it is one of IMAGE.
std::optional<std::string> running_commit(const Arguments& arguments, const std::string& image) {
    const auto is_image = [&](const std::vector<std::string>& names) {
        return std::find(names.begin(), names.end(), image) != names.end();
    };
    for (const auto& dictionary : ask_for_list(arguments, "ListDeployments")) {
        const auto deployment = read_answer<imaged::job::ImageDeployment>(dictionary);
        if (!deployment.booted) continue;
        if (is_image(deployment.stored_as) || is_image(deployment.kept_of) || deployment.image == image)
            return deployment.checksum;
    }
    return std::nullopt;
}

ExitCode run(const Arguments& arguments) {
    const Connection connection(arguments.bus);
    const auto image = stored_name(connection, image_argument(arguments));
    JobCall call{"Changes", {}};
    call.add(image);
    call.pass_flag("update", arguments);
    const auto from = arguments.text("from"), kept = arguments.text("kept");
    if (from && kept) throw UsageError("--from and --kept exclude each other");
    if (from) call.set("from", stored_name(connection, *from));
    if (kept) call.set("digest", *kept);
    if (!from && !kept) {
        if (const auto commit = running_commit(arguments, image)) call.set("commit", *commit);
    }
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb changes_verb = {
    {"changes", "IMAGE", "Show what another version of an image brings",
     "Shows the differences between the running deployment of IMAGE and its stored version: kernels, "
     "packages, files of /etc. If no deployment of IMAGE runs, compares with the version before the "
     "current one (see 'imagectl rollback'). Packages are those in the databases of dpkg and rpm in the "
     "images. Long lists are shortened.\n\n"
     "Downloads nothing. Before the pull, the content of an update (--update) is known only if the "
     "repository already has it.\n"
     "\n"
     "Examples:\n"
     "  imagectl changes docker://registry.example/host:stable\n"
     "  imagectl changes docker://registry.example/host:stable --kept 0123456789ab --all\n"
     "  imagectl changes docker://registry.example/host:testing --from docker://registry.example/host:stable --json\n"
     "\n",
     VerbHelp::job, options},
    run,
};

}  // namespace imagectl
