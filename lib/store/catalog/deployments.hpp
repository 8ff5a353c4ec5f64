// SPDX-License-Identifier: Apache-2.0
// Finds the image that each OSTree deployment of a host came from. Reads only, and takes no lock.
//
// The origin file of a deployment has the reference that ostree-ext, bootc and rpm-ostree follow for updates. Its
// commit names the manifest that it was made from.
#pragma once

#include <string>

#include "base/json-fwd.hpp"

namespace imaged {

// Returns an array of objects with the keys of org.imaged1.Manager.ListDeployments, in boot order: the deployments of
// the OSTree system at SYSROOT, none if there is no such system, with the names that their images have in the
// repository at REPOSITORY. An error of one deployment is reported in its entry. If an origin file is invalid,
// libostree reads none of the deployments, and the directories are listed instead. Throws Error(repository_damaged).
nlohmann::json list_deployments(const std::string& sysroot, const std::string& repository);

}  // namespace imaged
