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

// A command line that cannot be understood: imagectl exits with code 2 and points to --help. VERB is the verb whose
// help explains it; empty for the help of all verbs.
class UsageError : public std::runtime_error {
public:
    explicit UsageError(const std::string& message, std::string verb = {})
        : std::runtime_error(message), verb_(std::move(verb)) {}
    const std::string& verb() const { return verb_; }

private:
    std::string verb_;
};

// "imagectl: MESSAGE (NAME)" on standard error, made safe for a terminal.
void print_error(const std::string& name, const std::string& message);
// "imagectl: MESSAGE" likewise, for what is no error.
void print_note(const std::string& message);

}  // namespace imagectl
