// SPDX-License-Identifier: Apache-2.0
// imaged-proxy: becomes the skopeo that the other end of its socket asks for (source/skopeo.hpp). systemd starts it for
// each connection to imaged-proxy.socket, as a user who owns nothing, with the connection as descriptor 3.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "source/skopeo.hpp"

namespace {

using namespace imaged;

constexpr std::size_t max_request_bytes = 64 * 1024;
// As containers-auth.json(5) files go, generous.
constexpr std::size_t max_auth_file_bytes = 1024 * 1024;
// Whoever connects says at once what for.
constexpr int request_milliseconds = 10'000;
constexpr std::size_t max_descriptors = 3;

struct Packet {
    std::string text;
    std::vector<FileDescriptor> descriptors;
};

Packet receive() {
    struct pollfd ready {
        skopeo_channel, POLLIN, 0
    };
    if (::poll(&ready, 1, request_milliseconds) <= 0) throw Error(ErrorKind::failed, "nothing was asked for");
    std::vector<char> bytes(max_request_bytes);
    iovec buffer{bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(max_descriptors * sizeof(int))];
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const auto size = ::recvmsg(skopeo_channel, &message, MSG_CMSG_CLOEXEC);
    if (size < 0) throw_errno("receive the request");
    Packet packet;
    for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            packet.descriptors.emplace_back(fd);
        }
    }
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) throw Error(ErrorKind::failed, "the request is too long");
    packet.text.assign(bytes.data(), static_cast<std::size_t>(size));
    return packet;
}

// skopeo opens its credentials by name, which this user could not do with the file of another.
FileDescriptor own_copy(const FileDescriptor& file) {
    FileDescriptor copy(::memfd_create("credentials", MFD_CLOEXEC));
    if (!copy) throw_errno("memfd_create");
    const auto text = read_all(file.get(), max_auth_file_bytes, "the credentials");
    write_all(copy.get(), std::as_bytes(std::span(text)), "the credentials");
    return copy;
}

// Moves FILE to NUMBER, for skopeo.
void place(const FileDescriptor& file, int number) {
    if (file.get() == number ? ::fcntl(number, F_SETFD, 0) < 0 : ::dup2(file.get(), number) < 0) throw_errno("dup2");
}

}  // namespace

int main() {
    try {
        const auto packet = receive();
        const auto received = decode_skopeo_request(packet.text);
        const bool pushes = received.request.kind == SkopeoRequest::Kind::push;
        if (packet.descriptors.size() != 1U + (received.has_auth_file ? 1U : 0U) + (pushes ? 1U : 0U))
            throw Error(ErrorKind::failed, "the request has other descriptors than it says");
        // Out of the way of the numbers that they get in the end.
        FileDescriptor output(::fcntl(packet.descriptors[0].get(), F_DUPFD_CLOEXEC, 10)), auth;
        if (received.has_auth_file) auth.reset(::fcntl(own_copy(packet.descriptors[1]).get(), F_DUPFD_CLOEXEC, 10));
        if (received.request.kind == SkopeoRequest::Kind::inspect_raw) place(output, STDOUT_FILENO);
        if (pushes) {
            if (::fchdir(packet.descriptors.back().get()) != 0) throw_errno("go to the layout");
            place(output, STDERR_FILENO);
        }
        if (auth) place(auth, skopeo_auth_file);
        ::fcntl(skopeo_channel, F_SETFD, 0);
        auto command = skopeo_command(received.request, received.has_auth_file);
        std::vector<char*> arguments;
        for (auto& argument : command) arguments.push_back(argument.data());
        arguments.push_back(nullptr);
        ::execvp(arguments[0], arguments.data());
        throw_errno("run skopeo");
    } catch (...) {
        std::fprintf(stderr, "imaged-proxy: %s\n", current_error().what());
        return 1;
    }
}
