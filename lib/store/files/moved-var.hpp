// SPDX-License-Identifier: Apache-2.0
// Decides where the /var of a derived layer is stored: it depends on the libostree that deploys it.
#pragma once

namespace imaged {

// Whether this libostree needs it to be moved away from a commit's /var.
bool moves_var();

}  // namespace imaged
