// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string_view>

#include "job-verb.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

// In place of a source (org.imaged1.Manager.ListImages).
constexpr std::string_view archive_source = "archive";

constexpr VerbOption options[] = {
    {"target", "IMAGE", "The reference that the image is stored under"},
    {"exit-code", nullptr, "Exit with code 10 if there is an update"},
    {"packages", nullptr, "Also show the changes of each update, if they are known before the pull"}};

// Where the image that is stored as NAME came from; nullopt if the name says it.
std::optional<std::string> source_of(const Connection& connection, const std::string& name) {
    try {
        const auto answer = ask_about_image(connection, "GetImage", name);
        return Dictionary(Variant(g_variant_get_child_value(answer.body.get(), 0))).text("source");
    } catch (const BusError& error) {
        if (exit_code(error.name()) == ExitCode::no_daemon) throw;
        // Check says it better.
    }
    return std::nullopt;
}

void ask_for_packages(JobCall& call, const Arguments& arguments) {
    call.with_packages = arguments.flag("packages");
    call.pass_flag("packages", arguments);
}

ExitCode run(const Arguments& arguments) {
    const auto target = arguments.text("target");
    if (arguments.flag("packages") && arguments.detach) throw UsageError("--packages and --detach exclude each other");
    if (arguments.positional.size() != 1) {
        if (target || arguments.authfile) throw UsageError("--target and --authfile need exactly one image");
        auto call = images_call("CheckImages", arguments);
        ask_for_packages(call, arguments);
        return run_job_verb(arguments, std::move(call));
    }
    if (target) {
        auto call = image_call("Check", arguments);
        call.set("target", absolute_image(taken_image(*target)));
        ask_for_packages(call, arguments);
        return run_job_verb(arguments, std::move(call));
    }
    const Connection connection(arguments.bus);
    const auto image = stored_name(connection, image_argument(arguments));
    const auto source = source_of(connection, image);
    JobCall call{"Check", {}};
    ask_for_packages(call, arguments);
    call.add(source.value_or(image));
    if (source) {
        if (*source == archive_source)
            throw BusError("org.imaged1.Error.NotFound",
                           image +
                               " was imported from an archive, so it has no source to check. If you "
                               "know a source, name it: imagectl check SOURCE --target " +
                               image);
        print_note(image + " came from " + *source);
        call.set("target", image);
    }
    return run_job_verb(arguments, std::move(call));
}

}  // namespace

const Verb check_verb = {
    {"check", "[IMAGE…]", "Look for updates of stored images",
     "Asks the source of each IMAGE, or of all stored images, for a newer version, and records the answer: "
     "until the update is pulled, list and show report it, and diff compares with it. Downloads no layers; "
     "with --packages, parts of zstd:chunked layers.\n\n"
     "An image that was stored under another name (--target) or copied is looked up at its original "
     "source; an image from an archive has none. If all images are checked, images whose source cannot be "
     "reached or does not have them are reported, and the check does not fail.\n"
     "\n"
     "Examples:\n"
     "  imagectl check\n"
     "  imagectl check docker://registry.example/host:stable\n"
     "  imagectl check docker://registry.example/host:stable --json\n"
     "  imagectl check --packages\n"
     "  imagectl check --exit-code docker://registry.example/host:stable || echo 'an update, or an error'\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
