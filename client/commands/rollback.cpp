// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"to", "DIGEST",
     "Digest of the version to return to, or the beginning of it (default: the version before the current one)"},
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
     "Makes the version of IMAGE before the current one current again, or the version DIGEST. The version "
     "that is current now is kept, so another rollback returns to it. 'imagectl show' lists the kept "
     "versions; Keep= in imaged.conf(5) sets their number.\n\n"
     "Downloads nothing, and deploys nothing: see 'imagectl origin'. The newer version is listed as an "
     "update until the next check.\n"
     "\n"
     "Examples:\n"
     "  imagectl rollback docker://registry.example/host:stable\n"
     "  imagectl rollback docker://registry.example/host:stable --to 0123456789ab\n"
     "\n",
     VerbHelp::job, options},
    run,
};

}  // namespace imagectl
