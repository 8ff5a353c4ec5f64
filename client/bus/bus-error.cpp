// SPDX-License-Identifier: Apache-2.0
#include "bus/bus-error.hpp"

#include <cstdio>

#include "ui/display-text.hpp"

namespace imagectl {

void print_error(const std::string& name, const std::string& message) {
    std::fflush(stdout);
    const std::string text = message.empty() ? "failed without a message" : escaped(message);
    const std::string suffix = name.empty() ? "" : " (" + escaped(name) + ")";
    std::fprintf(stderr, "imagectl: %s%s\n", text.c_str(), suffix.c_str());
}

void print_note(const std::string& message) {
    std::fprintf(stderr, "imagectl: %s\n", escaped(message).c_str());
}

}  // namespace imagectl
