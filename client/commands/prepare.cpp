// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {{"target", "IMAGE", "The reference that the image is or would be stored under"}};

ExitCode run(const Arguments& arguments) {
    auto call = source_call("Prepare", arguments);
    if (const auto target = arguments.text("target")) call.set("target", absolute_image(taken_image(*target)));
    return run_job_verb(arguments, std::move(call));
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
     "  imagectl prepare oci:/srv/images/host:stable --target docker://registry.example/host:stable\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
