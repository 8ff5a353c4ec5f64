// SPDX-License-Identifier: Apache-2.0
// The destinations of exports: registries, OCI layouts in a directory, OCI archives.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "oci/image-reference.hpp"

namespace imaged {

// Throws Error(invalid_argument) unless images can be exported there.
void check_export_destination(const ImageReference& destination);

// The same for a delta, of which a registry's name is that of a repository.
void check_delta_destination(const ImageReference& destination);

// "PATH" or "PATH:TAG", as local transports name images.
std::pair<std::string, std::optional<std::string>> split_tag(const std::string& name);

}  // namespace imaged
