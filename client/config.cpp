// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "job-verb.hpp"
#include "json-output.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    const std::string image = image_argument(arguments);
    const StoredImageAnswer answer = ask_about_image(Connection(arguments.bus), "GetConfig", image);
    const char* stored = nullptr;
    g_variant_get(answer.body.get(), "(&s)", &stored);
    std::string text = stored;
    if (arguments.json)
        text = document_json(answer.image, "config", text);
    else if (isatty(STDOUT_FILENO) && !text.ends_with('\n'))
        text += '\n';  // elsewhere the text stays what its digest says
    print_result(text);
    return ExitCode::ok;
}

}  // namespace

const Verb config_verb = {
    {"config", "IMAGE", "Print the stored configuration of an image",
     "Prints the configuration of IMAGE, byte for byte as it is stored. With --json it becomes part of a document.\n"
     "\n"
     "Example:\n"
     "  imagectl config docker://registry.example/host:stable | sha256sum\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
