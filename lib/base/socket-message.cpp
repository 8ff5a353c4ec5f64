// SPDX-License-Identifier: Apache-2.0
#include "base/socket-message.hpp"

#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"

namespace imaged {

DescriptorPair make_socket_pair(int type) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0) throw_errno("socketpair");
    return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

FileDescriptor connect_to(const std::string& path, int type, unsigned seconds) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return {};
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    FileDescriptor connection(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    if (!connection) return {};
    const timeval limit{static_cast<time_t>(seconds), 0};
    ::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int reason = errno;
        connection.reset();
        errno = reason;
    }
    return connection;
}

void put_descriptors(msghdr& message, std::span<const int> descriptors) {
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    auto* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
}

ssize_t send_message(int socket, std::span<iovec> parts, std::span<const int> descriptors, int flags) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    std::vector<char> control;
    if (!descriptors.empty()) {
        control.resize(CMSG_SPACE(descriptors.size_bytes()));
        message.msg_control = control.data();
        put_descriptors(message, descriptors);
    }
    ssize_t sent = 0;
    while ((sent = ::sendmsg(socket, &message, flags | MSG_NOSIGNAL)) < 0 && errno == EINTR) {
    }
    return sent;
}

bool send_all(int socket, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
}

ReceivedMessage receive_message(int socket, std::span<iovec> parts, std::size_t max_descriptors, int flags) {
    std::vector<char> control(CMSG_SPACE(max_descriptors * sizeof(int)));
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ReceivedMessage received;
    while ((received.size = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    if (received.size < 0) return received;
    received.cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        std::vector<int> numbers((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        std::memcpy(numbers.data(), CMSG_DATA(header), numbers.size() * sizeof(int));
        for (const int number : numbers) received.descriptors.emplace_back(number);
    }
    return received;
}

}  // namespace imaged
