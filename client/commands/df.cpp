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
     "Show the disk usage of the repository",
     "Counts the disk usage of images, of the host's deployments, of other programs' refs and of their "
     "commits without a ref. UNIQUE is the space that becomes free when everything of a type, or the one "
     "deployment or ref, is removed and 'imagectl prune' runs. The last line shows what 'imagectl prune' "
     "would free now. Sizes are blocks of objects on disk. Afterwards 'imagectl list' has the sizes of all "
     "images.\n"
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
