// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"to", "DIGEST",
     "The version to go back to, or the beginning of its digest; by default the one that was current last"},
};

ExitCode run(const Arguments& arguments) {
    const auto image = stored_name(Connection(arguments.bus), image_argument(arguments));
    JobCall call{"Rollback", {}};
    call.add(image);
    if (const auto digest = arguments.text("to")) call.set("digest", *digest);
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb rollback_verb = {
    {"rollback", "IMAGE", "Make an earlier version of an image the current one",
     "Makes the version of IMAGE that was current before the current one again, or the one with DIGEST, and keeps the "
     "one\n"
     "that is current now: the next rollback goes forward again. 'imagectl show' names the versions that are kept; "
     "how\n"
     "many are says Keep= in imaged.conf(5). Fetches nothing, and deploys nothing: see 'imagectl origin'. The newer\n"
     "version is listed as an update until the next check.\n"
     "\n"
     "Examples:\n"
     "  imagectl rollback docker://registry.example/host:stable\n"
     "  imagectl rollback docker://registry.example/host:stable --to 0123456789ab\n"
     "\n",
     VerbHelp::job, options},
    run,
};

}  // namespace imagectl
