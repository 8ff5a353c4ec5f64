// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "json-output.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    const std::string image = image_argument(arguments);
    const StoredImageAnswer answer = ask_about_image(Connection(arguments.bus), "GetManifest", image);
    const char* stored = nullptr;
    g_variant_get(answer.body.get(), "(&s)", &stored);
    if (arguments.json)
        print_result(document_json(answer.image, "manifest", stored));
    else
        print_stored(stored);
    return ExitCode::ok;
}

}  // namespace

const Verb manifest_verb = {
    {"manifest", "IMAGE", "Print the stored manifest of an image",
     "Prints the manifest of IMAGE, byte for byte as it is stored; on a terminal with\n"
     "control characters escaped. With --json it becomes part of a document.\n"
     "\n"
     "Examples:\n"
     "  imagectl manifest docker://registry.example/host:stable | sha256sum\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
