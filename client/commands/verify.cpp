// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"repair", nullptr, "Repair damaged images and fetch unverified layers anew"},
    {"source", "IMAGE", "Fetch layers from this source instead of each image's own; with --repair"},
};

ExitCode run(const Arguments& arguments) {
    auto call = images_call("Verify", arguments);
    call.pass_flag("repair", arguments);
    if (const auto source = arguments.text("source")) {
        if (!arguments.flag("repair")) throw UsageError("--source requires --repair");
        const auto image = absolute_image(taken_image(*source));
        call.set("source", image);
        add_place(call, arguments, local_path(image));
    }
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb verify_verb = {
    {"verify", "[IMAGE…]", "Check images, and repair them",
     "Checks every IMAGE, or all images: the refs, manifest and config, the checksum of every reachable "
     "object, and whether the merged tree is that of the layers. Damaged images are reported, and listed "
     "as damaged from then on.\n\n"
     "--repair writes lost refs again, fetches layers with damaged objects again, and replaces a wrong "
     "merge. Kept versions of an image ('imagectl rollback') are checked too, and --repair deletes those "
     "that it cannot repair. The exit code is 1 if something damaged is not repaired.\n\n"
     "Layers that another program imported, or that were copied, are listed as unverified, because imaged did not "
     "verify them itself; --repair fetches them anew.\n"
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
