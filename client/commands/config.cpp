// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    return print_document(arguments, "GetConfig", "config");
}

}  // namespace

const Verb config_verb = {
    {"config", "IMAGE", "Print the stored configuration of an image",
     "Prints the configuration of IMAGE exactly as it is stored; on a terminal, control characters are "
     "escaped. With --json it is part of a document.\n"
     "\n"
     "Examples:\n"
     "  imagectl config docker://registry.example/host:stable | sha256sum\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
