// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors over Unix sockets (SCM_RIGHTS, unix(7)).
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <span>

namespace imaged {

// As sendmsg(2) with FLAGS and MSG_NOSIGNAL, errno included: PARTS are one message, and DESCRIPTORS, which stay open
// here, go with it.
ssize_t send_message(int socket, std::span<iovec> parts, std::span<const int> descriptors, int flags = 0);

}  // namespace imaged
