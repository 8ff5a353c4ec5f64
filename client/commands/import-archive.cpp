// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    {"name", "NAME", "The image to import if the archive has several: its tag, its name in the archive, or @N"},
    {"digest", "DIGEST", "Accept only the manifest with this digest"},
    any_architecture,
    delta_use,
};

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.size() != 2) throw UsageError("an archive and an image are required");
    if (arguments.positional[0].empty() || arguments.positional[1].empty()) throw UsageError("an argument is empty");
    JobCall call{"ImportArchive", {}};
    const auto& file = arguments.positional[0];
    call.arguments.push_back(open_for_call(call, file == "-" ? "/dev/stdin" : file, "archive"));
    call.add(absolute_image(taken_image(arguments.positional[1])));
    for (const char* option : {"name", "digest", delta_use.name}) call.pass_text(option, arguments);
    call.pass_flag(any_architecture.name, arguments);
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb import_archive_verb = {
    {"import-archive", "FILE IMAGE", "Import an image from an archive",
     "Imports an image from FILE, an oci-archive or a docker-archive (as written by \"docker save\"), "
     "compressed or not, and stores it as IMAGE. An oci-archive may contain a delta, which makes IMAGE from another "
     "stored image. imagectl opens the file; - is standard input.\n"
     "\n"
     "Examples:\n"
     "  imagectl import-archive host.tar docker://registry.example/host:stable\n"
     "  docker save app:1 | imagectl import-archive - docker://registry.example/app:1\n"
     "\n",
     VerbHelp::job, options},
    run,
};

}  // namespace imagectl
