// SPDX-License-Identifier: Apache-2.0
// Loads the module that reads the repository (imaged-catalog.so), and calls its functions.
//
// The module is beside imaged. It needs libostree, which needs some sixty libraries. Only the process that reads the
// repository loads it, at the first question (repository-service.hpp): without questions, no process needs that memory.
#pragma once

#include <memory>
#include <string>

#include "base/json-fwd.hpp"
#include "store/catalog/image-catalog.hpp"

namespace imaged {

// Loads the module if need be and opens REPOSITORY, for one thread at a time; null if none has been made yet. Throws
// Error(repository_damaged), or Error(failed) without the module.
std::unique_ptr<ImageCatalog> open_catalog(const std::string& repository);

// The result of list_deployments() (store/catalog/deployments.hpp), from the same module. On any thread.
nlohmann::json read_deployments(const std::string& sysroot, const std::string& repository);

// The module's symbols. They do the same as the functions above; the caller owns what they return.
using OpenCatalog = ImageCatalog*(const std::string& repository);
inline constexpr const char* open_catalog_symbol = "imaged_open_catalog";
using ReadDeployments = nlohmann::json*(const std::string& sysroot, const std::string& repository);
inline constexpr const char* read_deployments_symbol = "imaged_read_deployments";

}  // namespace imaged
