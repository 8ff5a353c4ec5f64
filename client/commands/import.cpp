// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {any_architecture, delta_use};

ExitCode run(const Arguments& arguments) {
    auto call = source_call("ImportImage", arguments);
    if (!arguments.digest) throw UsageError("--digest is missing: give the digest that prepare showed");
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb import_verb = {
    {"import", "IMAGE", "Fetch exactly the image that prepare showed",
     "Fetches the manifest with the digest of --digest (required), as printed by imagectl prepare, and "
     "stores the image. If the source has another manifest now, the job fails and stores nothing.\n"
     "\n"
     "Examples:\n"
     "  imagectl import docker://registry.example/host:stable --digest sha256:0123…\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::store | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
