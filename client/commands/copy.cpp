// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"from", nullptr, "Copy from REPOSITORY into the repository of imaged"},
    {"target", "IMAGE", "Store the image under this reference"},
};

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.size() != 2) throw UsageError("an image and a repository are required");
    if (arguments.positional[0].empty() || arguments.positional[1].empty()) throw UsageError("an argument is empty");
    JobCall call{"Copy", {}};
    // Another repository's names are as they are there.
    const auto& image = arguments.positional[0];
    call.add(arguments.flag("from") ? taken_image(image) : stored_name(Connection(arguments.bus), image));
    const auto repository = absolute_path(arguments.positional[1]);
    call.add(repository);
    add_place(call, arguments, repository);
    call.pass_flag("from", arguments);
    if (const auto target = arguments.text("target")) call.set("target", absolute_image(taken_image(*target)));
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb copy_verb = {
    {"copy", "IMAGE REPOSITORY", "Copy a stored image to or from another repository",
     "Copies IMAGE, its layers and their refs from the repository of imaged to the OSTree repository at "
     "the path REPOSITORY, or with --from in the other direction. Objects that the destination has are not "
     "copied again. On the same file system, objects become hard links if both repositories have the same "
     "mode, and share their extents if the file system supports it.\n\n"
     "Only root, or on a session bus its user, may do this.\n"
     "\n"
     "Examples:\n"
     "  imagectl copy docker://registry.example/host:stable /srv/mirror/repo\n"
     "  imagectl copy --from docker://registry.example/host:stable /run/media/stick/repo\n"
     "  imagectl copy docker://registry.example/host:stable /srv/mirror/repo --target "
     "docker://registry.example/host:tested\n"
     "\n",
     VerbHelp::job, options},
    run,
};

}  // namespace imagectl
