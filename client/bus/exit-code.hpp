// SPDX-License-Identifier: Apache-2.0
// Converts D-Bus error names to imagectl's exit status. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace imagectl {

enum class ExitCode : int {
    ok = 0,
    failed = 1,
    usage = 2,
    not_found = 3,
    denied = 4,       // not authorised, or the source refused the credentials
    policy = 5,       // signature policy
    unreachable = 6,  // the image's source
    bad_image = 7,    // corrupt input, digest mismatch, unsupported image
    no_space = 8,
    no_daemon = 9,
    update = 10,    // check --exit-code found one
    stopped = 11,   // imaged was stopped before the job ended
    deferred = 12,  // a background job that did not run, or not to its end
    cancelled = 130,
};

// The exit code of a full D-Bus error name; an unknown name is `failed`.
ExitCode exit_code(std::string_view error_name);

// The table of exit codes as --help and the manual print it.
std::string exit_code_help();

}  // namespace imagectl
