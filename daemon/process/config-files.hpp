// SPDX-License-Identifier: Apache-2.0
// Finds imaged's configuration files in systemd's order: the main file of the highest priority, then the drop-ins of
// all directories, by name; a drop-in of a higher priority replaces those with its name.
#pragma once

#include <string>
#include <vector>

namespace imaged {

struct ConfigFile {
    std::string path;
    std::string text;
};

// In the order in which they are read: what comes later wins. ROOT is put before every path ("" on a real system). A
// file that cannot be read is Error(failed).
std::vector<ConfigFile> system_config_files(const std::string& root);

// PATH and the drop-ins in PATH.d. Throws Error(not_found) when PATH is not there.
std::vector<ConfigFile> named_config_files(const std::string& path);

}  // namespace imaged
