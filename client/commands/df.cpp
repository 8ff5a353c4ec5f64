// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    no_arguments(arguments);
    return run_job_verb(arguments, JobCall{"DiskUsage", {}});
}

}  // namespace

const Verb df_verb = {
    {"df",
     "",
     "Show what the repository takes on disk",
     "Counts what images, the deployments of the host, refs of other programs, and their commits without a ref take "
     "on\n"
     "disk. UNIQUE is what comes free when all of a kind, or the one deployment or ref, are gone and 'imagectl prune' "
     "runs.\n"
     "What 'imagectl prune' would free now stands in the end. Sizes are blocks of objects on disk. Afterwards "
     "'imagectl list'\n"
     "has the sizes of all images.\n"
     "\n"
     "Examples:\n"
     "  imagectl df\n"
     "  imagectl df --json\n"
     "\n",
     VerbHelp::job,
     {}},
    run,
};

}  // namespace imagectl
