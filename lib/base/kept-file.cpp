// SPDX-License-Identifier: Apache-2.0
#include "base/kept-file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

#include "base/child-process.hpp"
#include "base/error.hpp"
#include "base/socket-message.hpp"

namespace imaged {

namespace {

enum class State { kept, unknown, refused };
struct Facts {
    State state = State::unknown;
    FileFacts file;
};
// Those whose files can be closed whatever a user does. A file system that has another one below it (overlayfs) is none
// of them.
constexpr std::array<std::uint32_t, 9> local_file_systems{EXT4_SUPER_MAGIC,  XFS_SUPER_MAGIC,   BTRFS_SUPER_MAGIC,
                                                          F2FS_SUPER_MAGIC,  MSDOS_SUPER_MAGIC, EXFAT_SUPER_MAGIC,
                                                          ISOFS_SUPER_MAGIC, TMPFS_MAGIC,       PIPEFS_MAGIC};
constexpr std::size_t piece_bytes = 64 * 1024;
constexpr int patience_milliseconds = 10'000;
constexpr const char* keeper_name = "imaged-keeper";

// Asks no server of a file system.
Facts examine(int file) {
    struct statx status {};
    const int flags = ::fcntl(file, F_GETFL);
    if (flags < 0 ||
        ::statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE | STATX_INO, &status) != 0)
        return {};
    return {State::kept,
            {status.stx_mode, flags, status.stx_size, status.stx_ino, status.stx_dev_major, status.stx_dev_minor}};
}

void send(int socket, const void* bytes, std::size_t size, std::span<const int> files = {}) {
    iovec part{const_cast<void*>(bytes), size};
    send_message(socket, std::span(&part, 1), files, MSG_DONTWAIT);
}

void send_facts(int socket, const Facts& facts) {
    send(socket, &facts, sizeof facts);
}

void send_file(int socket, int file) {
    send(socket, "", 1, std::span(&file, 1));
}

// Whether there is something to read from a pipe whose content goes to TO. False when nobody reads that any more.
bool wait_readable(int pipe, int to) {
    std::array<pollfd, 2> ready{{{pipe, POLLIN, 0}, {to, 0, 0}}};
    while (::poll(ready.data(), ready.size(), -1) < 0 && errno == EINTR) {
    }
    return ready[1].revents == 0;
}

// Up to the end of FILE, or as far as somebody reads from TO.
void copy_content(int file, int to) try {
    std::array<char, piece_bytes> buffer;
    const bool is_pipe = ::lseek(file, 0, SEEK_CUR) < 0;
    for (off_t position = 0; !is_pipe || wait_readable(file, to);) {
        const auto count = is_pipe ? ::read(file, buffer.data(), buffer.size())
                                   : ::pread(file, buffer.data(), buffer.size(), position);
        if (is_pipe && count < 0 && errno == EAGAIN) continue;
        if (count <= 0) return;
        write_all(to, std::as_bytes(std::span(buffer).first(static_cast<std::size_t>(count))), "a pipe");
        position += count;
    }
} catch (const Error&) {
}

// Asks the server of the file system, which may not answer.
bool is_local(int file) {
    struct statfs status {};
    if (::fstatfs(file, &status) != 0) return false;
    const auto type = static_cast<std::uint32_t>(status.f_type);
    return std::find(local_file_systems.begin(), local_file_systems.end(), type) != local_file_systems.end();
}

void hand_out(int file, int socket) {
    if (is_local(file)) return send_file(socket, file);
    auto [reading, writing] = make_pipe();
    send_file(socket, reading.get());
    reading.reset();
    copy_content(file, writing.get());
}

void wait_for_end(int socket) {
    for (pollfd end{socket, 0, 0}; end.revents == 0;) ::poll(&end, 1, -1);
}

}  // namespace

void refuse_file(int keeper_end) {
    send_facts(keeper_end, {State::refused, {}});
}

FileFacts facts_of(const std::string& what, int socket) {
    Facts facts;
    const auto size = ::recv(socket, &facts, sizeof facts, MSG_DONTWAIT | MSG_PEEK);
    if (size != sizeof facts || facts.state == State::unknown)
        throw Error(ErrorKind::invalid_argument, what + ": the descriptor cannot be examined");
    if (facts.state == State::refused)
        throw Error(ErrorKind::queue_full,
                    what + ": imaged keeps too many descriptors already, or the caller has left");
    return facts.file;
}

FileDescriptor take_kept_file(const FileDescriptor& socket) {
    Facts facts;
    [[maybe_unused]] const auto size = ::recv(socket.get(), &facts, sizeof facts, MSG_DONTWAIT);
    pollfd sent{socket.get(), POLLIN, 0};
    while (::poll(&sent, 1, patience_milliseconds) < 0 && errno == EINTR) {
    }
    char byte = 0;
    iovec part{&byte, sizeof byte};
    ReceivedMessage received;
    if (sent.revents != 0) received = receive_message(socket.get(), std::span(&part, 1), 1);
    if (received.descriptors.empty())
        throw Error(ErrorKind::failed, "the process that keeps a caller's file does not answer");
    return std::move(received.descriptors.front());
}

void keep_files(int stream, std::span<const int> sockets, int ready) noexcept {
    // Without end it would wait for a caller's file.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, keeper_name);
    std::vector<int> kept{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, stream, ready};
    kept.insert(kept.end(), sockets.begin(), sockets.end());
    std::sort(kept.begin(), kept.end());
    close_others(kept);
    char byte = 0;
    iovec part{&byte, sizeof byte};
    const auto received = receive_message(stream, std::span(&part, 1), sockets.size(), MSG_PEEK | MSG_DONTWAIT);
    const auto& files = received.descriptors;
    for (std::size_t i = 0; i < files.size(); ++i) send_facts(sockets[i], examine(files[i].get()));
    ::close(stream);
    ::close(ready);
    for (std::size_t i = 0; i < files.size(); ++i) hand_out(files[i].get(), sockets[i]);
    // Prevents another process from making the last close of a file, which may block.
    for (const int socket : sockets) wait_for_end(socket);
    // Exit frees the memory first, then closes the descriptors, which may block forever: so close none before.
    ::_exit(0);
}

}  // namespace imaged
