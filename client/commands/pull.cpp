// SPDX-License-Identifier: Apache-2.0
#include "image-list.hpp"
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {
    any_architecture, delta_use, {"updates", nullptr, "Pull the stored images with a known update"}};

// A reference to pull, and the name to store it under if that is another.
struct Wanted {
    std::string image;
    std::optional<std::string> target;
};

std::vector<Wanted> images_with_updates(const Arguments& arguments) {
    if (!arguments.positional.empty()) throw UsageError("--updates takes no image");
    std::vector<Wanted> images;
    const auto stored = listed_images(Connection(arguments.bus));
    for (const auto& image : stored) {
        const auto *name = image.text("image"), *source = image.text("source");
        if (image.text("update-digest") == nullptr || name == nullptr) continue;
        images.push_back(source == nullptr ? Wanted{std::string(*name), {}}
                                           : Wanted{std::string(*source), std::string(*name)});
    }
    return images;
}

// One of several: what is said of it names it.
ExitCode pull_one(const Arguments& arguments) {
    const auto& image = arguments.positional.front();
    try {
        return run_job_verb(arguments, source_call("Pull", arguments), image);
    } catch (const BusError& error) {
        report_error(arguments.json, error.name(), image + ": " + error.what(), image);
        return exit_code(error.name());
    }
}

ExitCode run(const Arguments& arguments) {
    const bool updates = arguments.flag("updates");
    if (arguments.positional.size() < 2 && !updates) return run_job_verb(arguments, source_call("Pull", arguments));
    if (arguments.digest || arguments.target) throw UsageError("--digest and --target need exactly one image");
    std::vector<Wanted> images;
    if (updates) images = images_with_updates(arguments);
    for (const auto& image : arguments.positional) images.push_back({image, {}});
    // One after the other, as imaged does them. A job that fails does not keep the others from being done.
    auto one = arguments;
    auto result = ExitCode::ok;
    for (const auto& image : images) {
        one.positional = {image.image};
        one.target = image.target;
        auto ended = pull_one(one);
        if (ended == ExitCode::cancelled || ended == ExitCode::deferred || ended == ExitCode::no_daemon) return ended;
        // The update waits for a time when its source can be reached.
        if (updates && ended == ExitCode::unreachable) ended = ExitCode::ok;
        if (result == ExitCode::ok) result = ended;
    }
    return result;
}

}  // namespace

const Verb pull_verb = {
    {"pull", "[IMAGE…]", "Fetch images into the repository",
     "Fetches each IMAGE into the repository of imaged, except for layers that are already stored. "
     "Progress is printed on standard error, the result on standard output.\n\n"
     "Ctrl-C cancels the job and waits for its end; a second Ctrl-C exits at once. SIGTERM, and SIGHUP "
     "from a closed terminal (unless nohup(1) is used), cancel the job as well and wait at most five "
     "seconds. A job that other callers requested too continues for them.\n\n"
     "If imaged does not answer, verbs that start a job wait, because a user may be typing a password; "
     "other verbs fail after 25 seconds.\n"
     "\n"
     "Examples:\n"
     "  imagectl pull debian:12\n"
     "  imagectl pull debian:12 quay.io/example/host:stable\n"
     "  imagectl pull oci:/srv/images/host:stable --target docker://registry.example/host:stable\n"
     "  imagectl pull docker://registry.example/host:stable --authfile ~/.config/containers/auth.json\n"
     "  imagectl check; imagectl pull --updates\n"
     "  imagectl pull --detach docker://registry.example/host:stable && imagectl watch\n"
     "\n",
     static_cast<VerbHelp::Options>(VerbHelp::job | VerbHelp::store | VerbHelp::credentials), options},
    run,
};

}  // namespace imagectl
