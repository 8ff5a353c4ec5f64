// SPDX-License-Identifier: Apache-2.0
// Finds out which users can reach a directory by its path.
#pragma once

#include <string>

namespace imaged {

// Whether users other than owner and group may enter PATH, an absolute path, and every directory above it. False if it
// cannot be found out.
bool others_can_enter(const std::string& path);

// Warns of a bare repository at PATH that others can enter, and names the command that closes it.
std::string exposure_warning(const std::string& path);

}  // namespace imaged
