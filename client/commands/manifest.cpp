// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    return print_document(arguments, "GetManifest", "manifest");
}

}  // namespace

const Verb manifest_verb = {
    {"manifest", "IMAGE", "Print the stored manifest of an image",
     "Prints the manifest of IMAGE exactly as it is stored; on a terminal, control characters are escaped. "
     "With --json it is part of a document.\n"
     "\n"
     "Examples:\n"
     "  imagectl manifest docker://registry.example/host:stable | sha256sum\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
