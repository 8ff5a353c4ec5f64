// SPDX-License-Identifier: Apache-2.0
// Converts between ErrorKind and the D-Bus names org.imaged1.Error.NAME, and catches every exception in callbacks of
// the bus.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

// "org.imaged1.Error.NotFound" for "NotFound"; an unknown name becomes Failed, an empty one stays empty.
std::string bus_error_name(std::string_view name);
sdbus::Error bus_error(const Error& error);

// TEXT as D-Bus takes it: valid UTF-8 without NUL; what is neither becomes U+FFFD.
std::string bus_text(std::string text);

// Runs FUNCTION; nothing but sdbus::Error leaves it. sdbus-c++ 1 ends the process on anything else.
template <typename Function>
auto with_bus_errors(Function&& function) {
    try {
        return std::forward<Function>(function)();
    } catch (const sdbus::Error&) {
        throw;
    } catch (...) {
        throw bus_error(current_error());
    }
}

// Runs FUNCTION, which sends something. A message that the bus does not take is lost: callers read the state as well,
// and the loop finds out by itself when the bus is gone.
template <typename Function>
void ignoring_errors(Function&& function) noexcept {
    try {
        function();
    } catch (...) {
    }
}

}  // namespace imaged
