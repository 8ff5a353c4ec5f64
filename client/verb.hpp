// SPDX-License-Identifier: Apache-2.0
// The verbs of imagectl: each one's help and what it does, in a file of its own.
#pragma once

#include "bus/exit-code.hpp"
#include "command-line.hpp"

namespace imagectl {

struct Verb {
    VerbHelp help;
    ExitCode (*run)(const Arguments& arguments);  // may throw UsageError and BusError
};

extern const Verb pull_verb, prepare_verb, import_verb, copy_verb, export_verb, import_archive_verb, check_verb,
    diff_verb, list_verb, deployments_verb, show_verb, origin_verb, manifest_verb, config_verb, remove_verb,
    rollback_verb, prune_verb, verify_verb, jobs_verb, cancel_verb, watch_verb;

}  // namespace imagectl
