// SPDX-License-Identifier: Apache-2.0
#include "process/held-config.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <string_view>

#include "base/file-descriptor.hpp"
#include "base/replace-file.hpp"
#include "process/ini-file.hpp"

namespace imaged {

namespace {

constexpr const char* nothing_known = "[Pull]\nSignaturePolicy=signature\n";
// After what is wrong with the files.
constexpr const char* earlier_holds = "; imaged works with the configuration that held before";
constexpr const char* defaults_hold =
    "; imaged works with the defaults, and images need a signature: no configuration has held before";

// Empty if there is no place for it.
std::string held_file() {
    const char* const unit = std::getenv("STATE_DIRECTORY");
    if (unit == nullptr || *unit != '/') return {};
    return std::string(std::string_view(unit).substr(0, std::string_view(unit).find(':'))) + "/imaged.conf";
}

ConfigFile held() {
    const auto path = held_file();
    const auto file = path.empty() ? FileDescriptor() : try_open_file(AT_FDCWD, path, O_NOFOLLOW);
    return {path, file ? read_all(file.get(), max_ini_bytes, path) : nothing_known};
}

// WHY: what is wrong with the files.
ReadConfig held_config(const CommandLine& line, const std::string& why) {
    try {
        const auto file = held();
        auto read = read_config(line, {file});
        read.error = why + (file.text != nothing_known ? earlier_holds : defaults_hold);
        return read;
    } catch (const Error&) {
        // It is no file, or one that a newer imaged kept.
        auto read = read_config(line, {{held_file(), nothing_known}});
        read.error = why + defaults_hold;
        return read;
    }
}

}  // namespace

std::string refused_config(const Error& error) {
    return std::string(error.what()) + earlier_holds;
}

ReadConfig read_and_hold_config(const CommandLine& line) {
    auto read = read_config(line);
    const auto path = held_file();
    try {
        if (!path.empty() && held().text != read.text) replace_file(AT_FDCWD, path, read.text, Durability::durable);
    } catch (...) {
        spdlog::warn("the configuration is not kept for a start without one: {}", current_error().what());
    }
    return read;
}

ReadConfig config_to_start_with(const CommandLine& line) {
    try {
        return read_and_hold_config(line);
    } catch (const Error& error) {
        return held_config(line, error.what());
    }
}

}  // namespace imaged
