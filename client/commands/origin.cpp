// SPDX-License-Identifier: Apache-2.0
#include <string_view>

#include "job-verb.hpp"
#include "json-output.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

// How a reference begins that says what verifies the image; each goes on with a transport or a remote's name.
constexpr std::string_view signature_source_prefix = "ostree-";
// Of a reference that says nothing of it: what the host demands.
constexpr const char* no_demand = "ostree-unverified-image:";

ExitCode run(const Arguments& arguments) {
    const auto given = image_argument(arguments);
    const auto stored = ask_about_image(Connection(arguments.bus), "GetManifest", given).image;
    const auto reference = (stored.starts_with(signature_source_prefix) ? "" : no_demand) + stored;
    print_result(arguments.json ? origin_json(reference) : "[origin]\ncontainer-image-reference=" + reference + "\n");
    return ExitCode::ok;
}

}  // namespace

const Verb origin_verb = {
    {"origin", "IMAGE", "Print an origin file for a deployment of an image",
     "Prints the origin file of a deployment that follows IMAGE, which must be stored. ostree admin deploy "
     "--origin-file, bootc and rpm-ostree read such files. A prefix of the name determines how updates are "
     "verified; without a prefix, only the host's containers policy applies (ostree-unverified-image:).\n"
     "\n"
     "Examples:\n"
     "  imagectl origin ostree-image-signed:docker://registry.example/host:stable >host.origin\n"
     "  imagectl origin docker://registry.example/host:stable\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
