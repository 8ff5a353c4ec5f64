// SPDX-License-Identifier: Apache-2.0
// Decides which entries the root of a deployment may have, by ostree-prepare-root.conf(5): any if its root is an
// overlay or a composefs, only those that OSTree deploys if it is the physical root.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "layer/derived-layer.hpp"

namespace imaged {

// Files that ostree-prepare-root(1) reads, first match wins; the image's own paths.
inline constexpr std::array<const char*, 2> prepare_root_paths{"etc/ostree/prepare-root.conf",
                                                               "usr/lib/ostree/prepare-root.conf"};
// A handful of lines.
inline constexpr std::size_t max_prepare_root_bytes = 64 * 1024;

// READ gives the text of one of the paths, or nothing.
RootPolicy root_policy(const std::function<std::optional<std::string>(const std::string& path)>& read);

// Whether an entry at the top stays where the root is read-only.
bool is_deployed(std::string_view name, bool is_directory);

}  // namespace imaged
