// SPDX-License-Identifier: Apache-2.0
#include "process/config-files.hpp"

#include <fcntl.h>

#include <array>
#include <filesystem>
#include <map>
#include <optional>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "process/ini-file.hpp"

namespace imaged {

namespace {

// From the lowest to the highest priority.
constexpr std::array directories{"/usr/lib/imaged", "/usr/local/lib/imaged", "/run/imaged", "/etc/imaged"};
constexpr const char* main_name = "imaged.conf";

std::optional<ConfigFile> read_file(const std::string& path) {
    const auto file = try_open_file(AT_FDCWD, path);
    if (!file) return std::nullopt;
    return ConfigFile{path, read_all(file.get(), max_ini_bytes, path)};
}

// Drop-ins of DIRECTORY by name, in place of those already in FOUND. A link to /dev/null reads as empty, which is how
// one is switched off.
void find_drop_ins(const std::string& directory, std::map<std::string, std::string>& found) {
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
        const auto name = entry.path().filename().string();
        if (name.ends_with(".conf") && !name.starts_with('.')) found[name] = entry.path().string();
    }
    if (failure && failure != std::errc::no_such_file_or_directory && failure != std::errc::not_a_directory)
        throw Error(ErrorKind::failed, directory + ": " + failure.message());
}

void read_drop_ins(const std::map<std::string, std::string>& found, std::vector<ConfigFile>& files) {
    for (const auto& [name, path] : found) {
        if (auto file = read_file(path)) files.push_back(std::move(*file));
    }
}

}  // namespace

std::vector<ConfigFile> system_config_files(const std::string& root) {
    std::optional<ConfigFile> main;
    std::map<std::string, std::string> drop_ins;
    for (const auto* directory : directories) {
        const auto base = root + directory + "/" + main_name;
        if (auto file = read_file(base)) main = std::move(file);
        find_drop_ins(base + ".d", drop_ins);
    }
    std::vector<ConfigFile> files;
    if (main) files.push_back(std::move(*main));
    read_drop_ins(drop_ins, files);
    return files;
}

std::vector<ConfigFile> named_config_files(const std::string& path) {
    auto main = read_file(path);
    if (!main) throw Error(ErrorKind::not_found, "there is no configuration file " + path);
    std::vector<ConfigFile> files;
    files.push_back(std::move(*main));
    std::map<std::string, std::string> drop_ins;
    find_drop_ins(path + ".d", drop_ins);
    read_drop_ins(drop_ins, files);
    return files;
}

}  // namespace imaged
