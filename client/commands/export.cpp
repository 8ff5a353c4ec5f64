// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"compression", "KIND", "Compression of the layers: gzip (default), zstd, zstd:chunked or none"},
};

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.size() != 2) throw UsageError("an image and a destination are required");
    if (arguments.positional[0].empty() || arguments.positional[1].empty()) throw UsageError("an argument is empty");
    JobCall call{"Export", {}};
    const auto destination = absolute_image(arguments.positional[1]);
    call.add(stored_name(Connection(arguments.bus), arguments.positional[0]));
    call.add(destination);
    add_place(call, arguments, local_path(destination));
    call.pass_text("compression", arguments);
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb export_verb = {
    {"export", "IMAGE DESTINATION", "Write a stored image out as OCI",
     "Writes IMAGE from the repository of imaged to DESTINATION: oci:DIRECTORY[:TAG], "
     "oci-archive:FILE[:TAG] or docker://NAME. The exported image has the same tree and the same layers, "
     "but usually another digest, which the result shows.\n\n"
     "Only root, or on a session bus its user, may export to a path.\n"
     "\n"
     "Examples:\n"
     "  imagectl export docker://registry.example/host:stable oci:/srv/images/host:stable\n"
     "  imagectl export docker://registry.example/host:stable oci-archive:host.tar --compression zstd\n"
     "  imagectl export docker://registry.example/host:stable docker://mirror.example/host:stable\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
