// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.empty()) throw UsageError("an image is missing");
    return run_job_verb(arguments, images_call("Remove", arguments));
}

}  // namespace

const Verb remove_verb = {
    {"remove", "IMAGE…", "Remove images from the repository",
     "Removes every IMAGE, and the layers that no image, deployment or protected base uses. Reports images "
     "that are not stored, removes the others, and then exits with code 3. The disk space becomes free "
     "with the next 'imagectl prune'.\n"
     "\n"
     "Examples:\n"
     "  imagectl remove docker://registry.example/host:old oci:/srv/images/host:test\n"
     "\n",
     VerbHelp::job},
    run,
};

}  // namespace imagectl
