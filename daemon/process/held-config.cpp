// SPDX-License-Identifier: Apache-2.0
#include "process/held-config.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <string_view>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/replace-file.hpp"
#include "process/ini-file.hpp"

namespace imaged {

namespace {

constexpr const char* nothing_known = "[Pull]\nSignaturePolicy=signature\n";

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

ReadConfig held_config(const CommandLine& line) {
    const auto file = held();
    try {
        return read_config(line, {file});
    } catch (const Error&) {
        // An older imaged does not take what a newer one kept.
        return read_config(line, {{file.path, nothing_known}});
    }
}

}  // namespace

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
        auto read = held_config(line);
        read.error = error.what();
        return read;
    }
}

}  // namespace imaged
