// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"compatible", nullptr, "Write version 1 of the format, for programs that do not know version 2; it is larger"},
};

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.size() != 3) throw UsageError("two images and a destination are required");
    for (const auto& argument : arguments.positional)
        if (argument.empty()) throw UsageError("an argument is empty");
    JobCall call{"Export", {}};
    const auto destination = absolute_image(arguments.positional[2]);
    const Connection connection(arguments.bus);
    call.add(stored_name(connection, arguments.positional[1]));
    call.add(destination);
    call.set("delta-from", stored_name(connection, arguments.positional[0]));
    add_place(call, arguments, local_path(destination));
    call.pass_flag("compatible", arguments);
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb delta_verb = {
    {"delta", "OLD NEW DESTINATION", "Make a delta between two images",
     "Writes a delta to DESTINATION: oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG] or docker://NAME without a tag. "
     "The delta makes the image NEW from the stored image OLD. Hosts that have OLD fetch the delta instead of the "
     "layers.\n\n"
     "The layers of NEW are read from its source. NEW does not have to be stored; if it is, its source must have the "
     "stored version.\n\n"
     "Only root, or on a session bus its user, may name a path.\n"
     "\n"
     "Examples:\n"
     "  imagectl delta registry.example/host:1 registry.example/host:2 docker://registry.example/host\n"
     "  imagectl delta registry.example/host:1 registry.example/host:2 oci-archive:update.tar\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
