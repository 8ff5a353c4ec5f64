// SPDX-License-Identifier: Apache-2.0
// The one error hierarchy of imaged.
//
// Every failure that a user may see is an Error with a kind. Context is put in front on the way up
// ("layer sha256:…: gzip: bad header checksum at byte 12"), the first cause stays last and is never replaced.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

namespace imaged {

// The kinds are the error names of the bus interface (docs/dbus.md), without their prefix.
enum class ErrorKind {
    invalid_reference,
    invalid_argument,
    not_found,
    not_authorized,
    cancelled,
    stopped,   // imaged is being stopped
    deferred,  // a background job that does not run now
    source_unreachable,
    source_denied,
    policy_rejected,
    digest_mismatch,
    corrupt_input,
    unsupported_image,
    no_space,
    repository_damaged,
    queue_full,
    failed,
};

// "CorruptInput" for ErrorKind::corrupt_input, and so on.
std::string_view error_name(ErrorKind kind);
// The inverse; an unknown name is ErrorKind::failed.
ErrorKind error_kind(std::string_view name);

class Error : public std::runtime_error {
public:
    Error(ErrorKind kind, const std::string& message, std::chrono::milliseconds pause = {})
        : std::runtime_error(message), kind_(kind), pause_(pause) {}
    ErrorKind kind() const { return kind_; }
    // Time for which an unreachable source asks not to be asked again; zero if it says nothing.
    std::chrono::milliseconds pause() const { return pause_; }
    // The same error with "CONTEXT: " in front of its message.
    Error with_context(std::string_view context) const {
        return Error(kind_, std::string(context) + ": " + what(), pause_);
    }

private:
    ErrorKind kind_;
    std::chrono::milliseconds pause_;
};

// Returns the Error for a failed system call: ENOSPC and EDQUOT are no_space, everything else is failed.
Error system_error(int error_number, const std::string& what);
// Throws system_error(errno, what).
[[noreturn]] void throw_errno(const std::string& what);

// Any exception as an Error; std::exception becomes ErrorKind::failed with its text.
// Call it inside a catch block only.
Error current_error();

// Runs FUNCTION; an exception leaves it as an Error with CONTEXT in front.
template <typename Function>
decltype(auto) in_context(std::string_view context, Function&& function) {
    try {
        return function();
    } catch (...) {
        throw current_error().with_context(context);
    }
}

}  // namespace imaged
