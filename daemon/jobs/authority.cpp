// SPDX-License-Identifier: Apache-2.0
#include "jobs/authority.hpp"

namespace imaged {

std::string_view action_name(Action action) {
    switch (action) {
        case Action::import: return "import";
        case Action::pull: return "pull";
        case Action::pull_unverified: return "pull-unverified";
        case Action::store_as: return "store-as";
        case Action::copy: return "copy";
        case Action::remove: return "remove";
        case Action::prune: return "prune";
        case Action::verify: return "verify";
        case Action::check: return "check";
        case Action::export_: return "export";
        case Action::cancel: return "cancel";
    }
    return "";
}

}  // namespace imaged
