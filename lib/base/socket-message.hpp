// SPDX-License-Identifier: Apache-2.0
// Unix sockets (unix(7)), and messages with descriptors over them.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <span>
#include <string>
#include <vector>

#include "base/file-descriptor.hpp"

namespace imaged {

// Two ends, of SOCK_STREAM or SOCK_SEQPACKET.
DescriptorPair make_socket_pair(int type);

// A connection to the socket of TYPE at PATH, or an empty descriptor and errno. Waits for it, and later when it sends,
// at most SECONDS; without end for 0.
FileDescriptor connect_to(const std::string& path, int type, unsigned seconds = 0);

// Does sendmsg(2) with FLAGS and MSG_NOSIGNAL, errno included, not interrupted by signals. PARTS are one message, and
// DESCRIPTORS, which stay open here, go with it.
ssize_t send_message(int socket, std::span<iovec> parts, std::span<const int> descriptors, int flags = 0);

// Sends all of BYTES over a SOCK_STREAM. False where nobody reads them any more.
bool send_all(int socket, std::span<const std::byte> bytes);

// Puts DESCRIPTORS, one or more, into the control buffer of MESSAGE, where there must be CMSG_SPACE for them.
void put_descriptors(msghdr& message, std::span<const int> descriptors);

struct ReceivedMessage {
    ssize_t size = 0;  // as recvmsg(2) returns it, errno included
    std::vector<FileDescriptor> descriptors;
    bool cut = false;  // it was longer than PARTS, or had more descriptors
};
// Does recvmsg(2) with FLAGS, not interrupted by signals.
ReceivedMessage receive_message(int socket, std::span<iovec> parts, std::size_t max_descriptors, int flags = 0);

}  // namespace imaged
