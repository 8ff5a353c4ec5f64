// SPDX-License-Identifier: Apache-2.0
#include "bus/exit-code.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace imagectl {

namespace {

constexpr std::pair<std::string_view, ExitCode> names[] = {
    {"org.imaged1.Error.InvalidReference", ExitCode::usage},
    {"org.imaged1.Error.InvalidArgument", ExitCode::usage},
    {"org.imaged1.Error.NotFound", ExitCode::not_found},
    {"org.imaged1.Error.NotAuthorized", ExitCode::denied},
    {"org.imaged1.Error.SourceDenied", ExitCode::denied},
    {"org.imaged1.Error.PolicyRejected", ExitCode::policy},
    {"org.imaged1.Error.SourceUnreachable", ExitCode::unreachable},
    {"org.imaged1.Error.DigestMismatch", ExitCode::bad_image},
    {"org.imaged1.Error.CorruptInput", ExitCode::bad_image},
    {"org.imaged1.Error.UnsupportedImage", ExitCode::bad_image},
    {"org.imaged1.Error.NoSpace", ExitCode::no_space},
    {"org.imaged1.Error.Cancelled", ExitCode::cancelled},
    {"org.imaged1.Error.Stopped", ExitCode::stopped},
    {"org.imaged1.Error.Deferred", ExitCode::deferred},
    {"org.imaged1.Error.RepositoryDamaged", ExitCode::failed},
    {"org.imaged1.Error.QueueFull", ExitCode::failed},
    {"org.imaged1.Error.Failed", ExitCode::failed},
    {"org.freedesktop.DBus.Error.AccessDenied", ExitCode::denied},
    {"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", ExitCode::denied},
    {"org.freedesktop.DBus.Error.ServiceUnknown", ExitCode::no_daemon},
    {"org.freedesktop.DBus.Error.NameHasNoOwner", ExitCode::no_daemon},
    {"org.freedesktop.DBus.Error.NoReply", ExitCode::no_daemon},
    {"org.freedesktop.DBus.Error.Timeout", ExitCode::no_daemon},
    {"org.freedesktop.DBus.Error.TimedOut", ExitCode::no_daemon},
    {"org.freedesktop.DBus.Error.NoServer", ExitCode::no_daemon},
    {"org.freedesktop.DBus.Error.Disconnected", ExitCode::no_daemon},
};

}  // namespace

ExitCode exit_code(std::string_view error_name) {
    // Activation failures come in a dozen flavours, all of which mean that there is no daemon.
    if (error_name.starts_with("org.freedesktop.DBus.Error.Spawn.")) return ExitCode::no_daemon;
    const auto found =
        std::find_if(std::begin(names), std::end(names), [&](const auto& entry) { return entry.first == error_name; });
    return found == std::end(names) ? ExitCode::failed : found->second;
}

std::string exit_code_help() {
    return "Exit codes:\n"
           "  0    done\n"
           "  1    failed, for a reason that has no code of its own\n"
           "  2    wrong usage, an invalid image reference or argument\n"
           "  3    the image or job does not exist\n"
           "  4    not authorised, or the source refused the credentials\n"
           "  5    the signature policy rejects the image\n"
           "  6    the source of the image cannot be reached\n"
           "  7    corrupt input, another digest than asked for, or an unsupported image\n"
           "  8    no space left\n"
           "  9    the daemon cannot be reached, or exited during the call\n"
           "  10   check --exit-code: there is an update\n"
           "  11   imaged was stopped before the job ended\n"
           "  12   postponed (--background): battery power, metered network, or other jobs\n"
           "  130  cancelled\n";
}

}  // namespace imagectl
