// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>

#include "answer.hpp"
#include "base/printable.hpp"
#include "changes-text.hpp"
#include "image-changes.hpp"
#include "json-output.hpp"
#include "outcome-text.hpp"
#include "password-agent.hpp"
#include "stored-image.hpp"
#include "ui/display-text.hpp"

namespace imagectl {

namespace {

namespace job = imaged::job;

void write_result(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
    // A reader that has seen enough (head, true) is no failure.
    if (errno != EPIPE) throw BusError("", std::string("cannot write the result: ") + std::strerror(errno));
}

// Takes over FD; what it is of, for the error.
Variant handle(JobCall& call, int fd, const std::string& what) {
    if (!call.fds) call.fds.reset(g_unix_fd_list_new());
    GError* error = nullptr;
    const int index = g_unix_fd_list_append(call.fds.get(), fd, &error);  // duplicates it
    ::close(fd);
    if (index >= 0) return adopt(g_variant_new_handle(index));
    const std::string message = error->message;
    g_error_free(error);
    throw BusError("", "cannot pass on the " + what + ": " + message);
}

// The first image that could not be asked about counts. If all were meant, a machine that is offline and an image that
// has no source are no errors.
ExitCode judge_unchecked(const std::vector<job::UncheckedImage>& unchecked, bool all) {
    for (const auto& image : unchecked) {
        const auto code = exit_code(image.error_name.value_or(""));
        const bool has_no_source =
            code == ExitCode::unreachable || code == ExitCode::not_found || code == ExitCode::denied;
        if (!has_no_source || !all) return code;
    }
    return ExitCode::ok;
}

// A job may do its work and find that not all is well.
ExitCode judge(const Arguments& arguments, const FollowedJob& job) {
    const auto is = [&](const job::Traits& kind) { return job.status.kind == kind.name; };
    bool has_update = false, lacks_images = false;
    if (is(job::CheckImages::traits)) {
        const auto found = read_answer<job::CheckImagesOutcome>(job.outcome);
        if (const auto code = judge_unchecked(found.unchecked, found.all); code != ExitCode::ok) return code;
        has_update = !found.updates.empty();
    } else if (is(job::Check::traits)) {
        has_update = read_answer<job::CheckOutcome>(job.outcome).update_available;
    } else if (is(job::Verify::traits)) {
        const auto found = read_answer<job::VerifyOutcome>(job.outcome);
        if (found.unchecked) {
            if (const auto code = judge_unchecked(*found.unchecked, false); code != ExitCode::ok) return code;
        }
        if (!found.sound) return ExitCode::failed;
        lacks_images = !found.missing.empty();
    } else if (is(job::Remove::traits)) {
        lacks_images = !read_answer<job::RemoveOutcome>(job.outcome).missing.empty();
    }
    if (has_update && arguments.flag("exit-code")) return ExitCode::update;
    return lacks_images ? ExitCode::not_found : ExitCode::ok;
}

}  // namespace

void print_result(const std::string& text) {
    write_result(imaged::printable_lines(text));
}

void print_stored(const std::string& text) {
    if (isatty(STDOUT_FILENO) == 0) return write_result(text);
    write_result(imaged::printable_json(text) + (text.ends_with('\n') ? "" : "\n"));
}

Variant open_for_call(JobCall& call, const std::string& path, const std::string& what) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) throw BusError("", "cannot open the " + what + " '" + path + "': " + std::strerror(errno));
    return handle(call, fd, what);
}

void add_place(JobCall& call, const Arguments& arguments, const std::string& path) {
    // Another machine's paths are its own, and only a local socket takes descriptors.
    const auto& bus = arguments.bus;
    if (path.empty() || bus.is_remote() || (bus.kind == Bus::Kind::address && !bus.address.starts_with("unix:")))
        return;
    std::filesystem::path place(path);
    int fd = -1;
    while ((fd = ::open(place.c_str(), O_PATH | O_CLOEXEC)) < 0 && place.has_relative_path())
        place = place.parent_path();
    if (fd >= 0) call.options.emplace_back("place", handle(call, fd, "directory"));
}

void JobCall::pass_flag(const char* option, const Arguments& given) {
    if (given.flag(option)) options.emplace_back(option, adopt(g_variant_new_boolean(TRUE)));
}

JobCall image_call(const char* method, const Arguments& arguments) {
    JobCall call{method, {}};
    call.add(absolute_image(taken_image(image_argument(arguments))));
    if (arguments.digest) call.set("digest", *arguments.digest);
    if (arguments.target) call.set("target", absolute_image(taken_image(*arguments.target)));
    call.pass_flag(any_architecture.name, arguments);
    call.pass_text(delta_use.name, arguments);
    return call;
}

JobCall source_call(const char* method, const Arguments& arguments) {
    auto call = image_call(method, arguments);
    add_place(call, arguments, local_path(g_variant_get_string(call.arguments.front().get(), nullptr)));
    return call;
}

JobCall images_call(const char* method, const Arguments& arguments) {
    std::vector<std::string> names;
    for (const auto& image : arguments.positional) {
        if (image.empty()) throw UsageError("an image is empty");
        names.push_back(stored_name(Connection(arguments.bus), image));
    }
    GVariantBuilder images;
    g_variant_builder_init(&images, G_VARIANT_TYPE_STRING_ARRAY);
    for (const auto& name : names) g_variant_builder_add(&images, "s", name.c_str());
    JobCall call{method, {}};
    call.arguments.push_back(adopt(g_variant_builder_end(&images)));
    return call;
}

void no_arguments(const Arguments& arguments) {
    if (!arguments.positional.empty()) throw UsageError("unexpected argument '" + arguments.positional[0] + "'");
}

std::vector<Dictionary> ask_for_list(const Arguments& arguments, const char* method) {
    const Connection connection(arguments.bus);
    Call call;
    call.method = method;
    call.arguments = adopt(g_variant_new("(a{sv})", nullptr));
    const Variant list(g_variant_get_child_value(connection.call(std::move(call)).body.get(), 0));
    return dictionaries(list.get());
}

ExitCode print_document(const Arguments& arguments, const char* method, const char* key) {
    const auto answer = ask_about_image(Connection(arguments.bus), method, image_argument(arguments));
    const char* stored = nullptr;
    g_variant_get(answer.body.get(), "(&s)", &stored);
    if (arguments.json)
        print_result(document_json(answer.image, key, stored));
    else
        print_stored(stored);
    return ExitCode::ok;
}

ExitCode run_job_verb(const Arguments& arguments, JobCall job, const std::string& of_what) {
    GVariantBuilder options;
    g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
    const auto add = [&](const char* key, GVariant* value) { g_variant_builder_add(&options, "{sv}", key, value); };
    for (const auto& [key, value] : job.options) add(key.c_str(), value.get());
    if (arguments.background) add("background", g_variant_new_boolean(TRUE));
    if (arguments.bind) add("bind-to-caller", g_variant_new_boolean(TRUE));
    if (allows_dialogue(arguments)) add("interactive", g_variant_new_boolean(TRUE));
    if (arguments.authfile) add("authfile", open_for_call(job, *arguments.authfile, "credentials file").get());
    job.arguments.push_back(adopt(g_variant_builder_end(&options)));
    std::vector<GVariant*> members;
    for (const auto& argument : job.arguments) members.push_back(argument.get());

    const auto agent = password_agent(arguments);
    const Connection connection(arguments.bus);
    Call call;
    call.method = job.method;
    call.interactive = allows_dialogue(arguments);
    call.arguments = adopt(g_variant_new_tuple(members.data(), members.size()));
    call.fds = job.fds.get();
    call.timeout_milliseconds = std::numeric_limits<int>::max();  // somebody may be typing a password
    RunOptions run;
    const bool wanted = !arguments.quiet && !arguments.no_progress && arguments.progress != "none";
    run.progress = progress_style(wanted && arguments.progress != "json");
    if (wanted && arguments.progress == "lines") run.progress = ProgressStyle::lines;
    if (wanted && arguments.progress == "json") run.events_fd = STDERR_FILENO;
    if (arguments.progress_fd) run.events_fd = *arguments.progress_fd;
    run.detach = arguments.detach;
    run.asks_here = agent != nullptr;
    const RunResult result = run_new_job(connection, std::move(call), run);
    if (result.interrupted) return ExitCode::cancelled;
    if (const auto& started = result.detached) {
        print_result(arguments.json ? detached_json(started->id, started->path, of_what)
                                    : std::to_string(started->id) + " " + started->path + "\n");
        return ExitCode::ok;
    }
    std::map<std::string, Dictionary> changes;
    if (job.with_packages) changes = update_changes(connection, result.ended.front());
    return report_end(arguments, result.ended.front(), of_what, changes);
}

void report_error(bool json, const std::string& name, const std::string& message, const std::string& image) {
    print_error(name, message);
    if (!json) return;
    const auto document = imaged::printable_lines(error_json(name, message, image));
    std::fwrite(document.data(), 1, document.size(), stdout);
    std::fflush(stdout);
}

ExitCode report_end(const Arguments& arguments, const FollowedJob& job, const std::string& of_what,
                    const std::map<std::string, Dictionary>& changes) {
    const bool success = job.status.result == "success", cancelled = job.status.result == "cancelled";
    if (arguments.json) {
        print_result(outcome_json(job, changes));
    } else if (success && arguments.quiet) {
        if (const auto digest = job.outcome.text(job::key::digest)) print_result(escaped(*digest) + "\n");
        if (job.status.kind == job::Prune::traits.name)
            print_result(std::to_string(read_answer<job::PruneOutcome>(job.outcome).bytes) + "\n");
    } else if (success) {
        auto text = outcome_text(job.status.kind, job.outcome, arguments.flag("all"));
        for (const auto& [image, brought] : changes)
            text += "\n" + changes_text(read_answer<job::ChangesOutcome>(brought), arguments.flag("all"));
        print_result(text);
    }
    if (success) return judge(arguments, job);
    const bool silent = job.status.error_message.empty() && cancelled;
    print_error(job.status.error_name, (of_what.empty() ? "" : of_what + ": ") +
                                           (silent ? "the job was cancelled" : job.status.error_message));
    return cancelled ? ExitCode::cancelled : exit_code(job.status.error_name);
}

}  // namespace imagectl
