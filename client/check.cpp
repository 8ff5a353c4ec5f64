// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {{"target", "IMAGE", "The reference that the image is stored under"},
                                  {"exit-code", nullptr, "End with exit code 10 if there is an update"}};

ExitCode run(const Arguments& arguments) {
    auto call = image_call("Check", arguments);
    if (const auto target = arguments.text("target"))
        call.options.emplace_back("target", adopt(g_variant_new_string(absolute_image(taken_image(*target)).c_str())));
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb check_verb = {
    {"check", "IMAGE", "Look for an update of a stored image",
     "Asks the source of IMAGE whether it has another version than the one that is stored, and remembers the answer: "
     "list and "
     "show\n"
     "tell of the update, diff compares with it, until it is pulled. Fetches no layer.\n"
     "\n"
     "Examples:\n"
     "  imagectl check docker://registry.example/host:stable\n"
     "  imagectl check docker://registry.example/host:stable --json\n"
     "  imagectl check --exit-code docker://registry.example/host:stable || echo 'an update, or an error'\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
