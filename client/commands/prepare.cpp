// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    return run_job_verb(arguments, source_call("Prepare", arguments));
}

}  // namespace

const Verb prepare_verb = {
    {"prepare", "IMAGE", "Show what fetching an image would do",
     "Fetches the manifest and the configuration of IMAGE and shows what an import would do: its digest, "
     "its layers, the missing layers, the bytes to fetch, and the signature policy that applies. Changes "
     "nothing.\n"
     "\n"
     "Examples:\n"
     "  imagectl prepare docker://registry.example/host:stable\n"
     "  imagectl prepare docker://registry.example/host:stable --json\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::credentials)},
    run,
};

}  // namespace imagectl
