// SPDX-License-Identifier: Apache-2.0
#include "answer.hpp"
#include "job-verb.hpp"
#include "json-output.hpp"
#include "outcome-text.hpp"
#include "stored-image.hpp"
#include "ui/display-text.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"commit", nullptr, "Print only the commit that a deployment of the image uses"},
};

ExitCode run(const Arguments& arguments) {
    const StoredImageAnswer answer = ask_about_image(Connection(arguments.bus), "GetImage", image_argument(arguments));
    const Dictionary description(Variant(g_variant_get_child_value(answer.body.get(), 0)));
    const auto image = read_answer<imaged::job::ImageDescription>(description);
    if (arguments.flag("commit")) {
        print_result(escaped(image.commit.value_or("")) + "\n");
        return ExitCode::ok;
    }
    print_result(arguments.json ? show_json(description) : image_text(image));
    return ExitCode::ok;
}

}  // namespace

const Verb show_verb = {
    {"show", "IMAGE", "Show the details of an image",
     "Shows what the repository knows about IMAGE: digest, commits, labels, layers.\n\n"
     "For all verbs that take a stored image, IMAGE may also be the digest of its manifest or "
     "configuration: the short form that list prints, a longer beginning of it, or sha256: and a beginning of it. "
     "If several images have the digest, the error lists their names.\n"
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
