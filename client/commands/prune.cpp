// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"dry-run", nullptr, "Delete nothing; show what a prune would delete, and the bytes it would free"},
    {"foreign-commits", nullptr, "Also delete other programs' commits without a ref"},
};

ExitCode run(const Arguments& arguments) {
    no_arguments(arguments);
    JobCall call{"Prune", {}};
    for (const auto& option : options) call.pass_flag(option.name, arguments);
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb prune_verb = {
    {"prune", "", "Remove unused data and free disk space",
     "Deletes layers that no image, kept version of an image (Keep= in imaged.conf(5)), deployment or "
     "protected base uses, and then every unreachable object. Keeps the branches of other programs, and "
     "their commits without a branch. With --quiet it prints only the number of bytes.\n"
     "\n"
     "Examples:\n"
     "  imagectl prune --dry-run\n"
     "  imagectl prune\n"
     "\n",
     VerbHelp::job, options},
    run,
};

}  // namespace imagectl
