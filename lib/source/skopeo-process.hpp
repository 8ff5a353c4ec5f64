// SPDX-License-Identifier: Apache-2.0
// Running skopeo with what this process was given: credentials, the containers policy, and the files that the
// administrator named in place of the host's (CONTAINERS_REGISTRIES_CONF, CONTAINERS_REGISTRIES_D).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace imaged {

// Starts "skopeo …" with CHANNEL as descriptor CHILD_FD, the credentials, if any, and under the text POLICY, if any.
// Its end is end_process() of source/skopeo.hpp.
pid_t spawn_skopeo(std::vector<std::string> arguments, int channel, int child_fd, std::optional<int> auth_file,
                   const std::optional<std::string>& policy);

}  // namespace imaged
