// SPDX-License-Identifier: Apache-2.0
#include "store/files/moved-var.hpp"

#include <ostree.h>

namespace imaged {

bool moves_var() {
    // From this version on, OSTree fills an empty /var from the commit's at the first boot of a deployment.
    return ostree_check_version(2024, 3) == FALSE;
}

}  // namespace imaged
