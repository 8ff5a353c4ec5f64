// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"dry-run", nullptr, "Remove nothing, tell what would go and how many bytes it frees"},
    {"foreign-commits", nullptr, "Also remove other programs' commits that no ref names"},
};

ExitCode run(const Arguments& arguments) {
    no_arguments(arguments);
    JobCall call{"Prune", {}};
    for (const auto& option : options) call.pass_flag(option.name, arguments);
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb prune_verb = {
    {"prune", "", "Free the room of what nothing needs",
     "Drops layers that no image, no version that is kept of one (Keep= in imaged.conf(5)), no deployment and no\n"
     "protected base uses, and then every object that nothing reaches. Branches of other programs\n"
     "stay, and so do their commits that no branch names. With --quiet it prints the number of bytes alone.\n"
     "\n"
     "Examples:\n"
     "  imagectl prune --dry-run\n"
     "  imagectl prune\n"
     "\n",
     VerbHelp::job, options},
    run,
};

}  // namespace imagectl
