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
     "Removes every IMAGE, and the layers that nothing else uses: no image, no deployment, no protected base.\n"
     "Images that are not stored are told; the others still go, and the exit code is 3. What was removed takes room "
     "on\n"
     "the disk until 'imagectl prune'.\n"
     "\n"
     "Examples:\n"
     "  imagectl remove docker://registry.example/host:old oci:/srv/images/host:test\n"
     "\n",
     VerbHelp::job},
    run,
};

}  // namespace imagectl
