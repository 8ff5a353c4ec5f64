// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"repair", nullptr, "Repair damaged images and fetch unverified layers anew"},
    {"source", "IMAGE", "Fetch layers from here instead of each image's own reference; with --repair"},
};

ExitCode run(const Arguments& arguments) {
    auto call = images_call("Verify", arguments);
    call.pass_flag("repair", arguments);
    if (const auto source = arguments.text("source")) {
        if (!arguments.flag("repair")) throw UsageError("--source is of use with --repair only");
        const auto image = absolute_image(taken_image(*source));
        call.set("source", image);
        add_place(call, arguments, local_path(image));
    }
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb verify_verb = {
    {"verify", "[IMAGE…]", "Check that images are sound, and mend them",
     "Checks every IMAGE, or all of them: its refs, its manifest and config, the checksum of every object that it\n"
     "reaches, and that the merged tree is what the layers give. What is damaged is named, and listed as damaged from\n"
     "then on. With --repair, lost refs are written again, layers with bad objects are fetched again and a wrong "
     "merge\n"
     "is replaced. Versions that are kept of an image ('imagectl rollback') are checked as well, and dropped by "
     "--repair "
     "if\n"
     "they stay damaged. The exit code is 1 where something is damaged and was not mended.\n"
     "Layers that imaged did not verify itself (another program imported them, or they were copied) are listed as\n"
     "unverified; --repair fetches them anew.\n"
     "\n"
     "Examples:\n"
     "  imagectl verify\n"
     "  imagectl verify docker://registry.example/host:stable --repair\n"
     "  imagectl verify oci:/srv/images/host:stable --repair --source oci:/media/backup/host:stable\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
