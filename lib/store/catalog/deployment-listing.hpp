// SPDX-License-Identifier: Apache-2.0
// Lists the deployments of an OSTree system as they are found on disk: state and origin, not their files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace imaged {

struct FoundDeployment {
    std::string stateroot, checksum;
    std::uint32_t serial = 0;
    bool booted = false, pending = false, rollback = false, staged = false, pinned = false;
    std::optional<std::string> image_reference;  // of the origin file, as it is there
    std::optional<std::string> refspec;          // likewise, of what came from a ref of a remote
    std::string error;                           // what is wrong with the origin file
};

// In boot order; empty if there is no OSTree system at SYSROOT. Throws Error(repository_damaged) or another Error.
std::vector<FoundDeployment> find_deployments(const std::string& sysroot);

}  // namespace imaged
