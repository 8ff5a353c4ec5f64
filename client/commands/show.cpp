// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "json-output.hpp"
#include "outcome-text.hpp"
#include "stored-image.hpp"
#include "ui/display-text.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"commit", nullptr, "Print the commit that a deployment of the image uses, and nothing else"},
};

ExitCode run(const Arguments& arguments) {
    const std::string image = image_argument(arguments);
    const StoredImageAnswer answer = ask_about_image(Connection(arguments.bus), "GetImage", image);
    const Dictionary description(Variant(g_variant_get_child_value(answer.body.get(), 0)));
    if (arguments.flag("commit")) {
        print_result(escaped(description.text("commit").value_or("")) + "\n");
        return ExitCode::ok;
    }
    print_result(arguments.json ? show_json(description) : image_text(description));
    return ExitCode::ok;
}

}  // namespace

const Verb show_verb = {
    {"show", "IMAGE", "Show all that is known of an image",
     "Shows what the repository knows of IMAGE: digest, commits, labels, layers. Here and for every other verb that "
     "takes "
     "a\n"
     "stored image, IMAGE may also be the digest of its manifest or configuration as list prints it, or longer, or\n"
     "sha256: and the beginning of one. A digest of several images is refused, with their names.\n"
     "\n"
     "Examples:\n"
     "  imagectl show docker://registry.example/host:stable\n"
     "  imagectl show docker://registry.example/host:stable --json\n"
     "  imagectl show docker://registry.example/host:stable --commit\n"
     "\n",
     VerbHelp::none, options},
    run,
};

}  // namespace imagectl
