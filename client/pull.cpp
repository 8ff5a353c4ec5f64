// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {any_architecture};

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.size() < 2) return run_job_verb(arguments, image_call("Pull", arguments));
    if (arguments.digest || arguments.target) throw UsageError("--digest and --target are for one image");
    // One after the other, as imaged does them. A job that fails does not keep the others from being done.
    auto one = arguments;
    auto result = ExitCode::ok;
    for (const auto& image : arguments.positional) {
        one.positional = {image};
        const auto ended = run_job_verb(one, image_call("Pull", one));
        if (ended == ExitCode::cancelled) return ended;
        if (result == ExitCode::ok) result = ended;
    }
    return result;
}

}  // namespace

const Verb pull_verb = {
    {"pull", "IMAGE…", "Fetch images into the repository",
     "Fetches each IMAGE into the repository of imaged. Layers that are there already are not fetched again.\n"
     "Standard error tells of the progress, standard output of the result. Ctrl-C cancels the job and waits for its "
     "end;\n"
     "a second Ctrl-C leaves at once. A job that other callers asked for as well goes on for them.\n"
     "\n"
     "Examples:\n"
     "  imagectl pull debian:12\n"
     "  imagectl pull debian:12 quay.io/example/host:stable\n"
     "  imagectl pull oci:/srv/images/host:stable --target docker://registry.example/host:stable\n"
     "  imagectl pull docker://registry.example/host:stable --authfile ~/.config/containers/auth.json\n"
     "  imagectl pull --detach docker://registry.example/host:stable && imagectl watch\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::store | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
