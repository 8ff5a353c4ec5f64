// SPDX-License-Identifier: Apache-2.0
#include "base/socket-message.hpp"

#include <sys/socket.h>

#include <cstring>
#include <vector>

namespace imaged {

ssize_t send_message(int socket, std::span<iovec> parts, std::span<const int> descriptors, int flags) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    std::vector<char> control;
    if (!descriptors.empty()) {
        control.resize(CMSG_SPACE(descriptors.size_bytes()));
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        auto* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    return ::sendmsg(socket, &message, flags | MSG_NOSIGNAL);
}

}  // namespace imaged
