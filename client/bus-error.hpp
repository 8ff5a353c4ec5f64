// SPDX-License-Identifier: Apache-2.0
// An error with its full D-Bus name, whether the daemon, the bus or imagectl itself raised it.
#pragma once

#include <stdexcept>
#include <string>

namespace imagectl {

class BusError : public std::runtime_error {
public:
    BusError(std::string name, const std::string& message) : std::runtime_error(message), name_(std::move(name)) {}
    const std::string& name() const { return name_; }

private:
    std::string name_;
};

// Wrong use of the command line: exit code 2, with a pointer to --help.
class UsageError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// "imagectl: MESSAGE (NAME)" on standard error, made safe for a terminal.
void print_error(const std::string& name, const std::string& message);

}  // namespace imagectl
