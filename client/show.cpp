// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "json-output.hpp"
#include "outcome-text.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    const std::string image = image_argument(arguments);
    const StoredImageAnswer answer = ask_about_image(Connection(arguments.bus), "GetImage", image);
    const Dictionary description(Variant(g_variant_get_child_value(answer.body.get(), 0)));
    print_result(arguments.json ? show_json(description) : image_text(description));
    return ExitCode::ok;
}

}  // namespace

const Verb show_verb = {
    {"show", "IMAGE", "Show all that is known of an image",
     "Shows what the repository knows of IMAGE: digest, commits, labels, layers.\n"
     "\n"
     "Examples:\n"
     "  imagectl show docker://registry.example/host:stable\n"
     "  imagectl show docker://registry.example/host:stable --json\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
