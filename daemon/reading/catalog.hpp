// SPDX-License-Identifier: Apache-2.0
// The questions of imaged about a repository, and the module that answers them.
//
// libostree brings some sixty libraries along. They live in imaged-catalog.so, which lies beside imaged and is loaded
// by the first question in the process that reads (repository-service.hpp): without questions, all stays small.
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

// The module's symbols, which do as the functions above do; the caller owns what they return.
using OpenCatalog = ImageCatalog*(const std::string& repository);
inline constexpr const char* open_catalog_symbol = "imaged_open_catalog";
using ReadDeployments = nlohmann::json*(const std::string& sysroot, const std::string& repository);
inline constexpr const char* read_deployments_symbol = "imaged_read_deployments";

}  // namespace imaged
