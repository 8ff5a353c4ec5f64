// SPDX-License-Identifier: Apache-2.0
#include "bus/received-files.hpp"

#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <span>
#include <utility>

#include "base/error.hpp"
#include "base/kept-file.hpp"
#include "base/socket-message.hpp"
#include "bus/message-start.hpp"

namespace imaged {

namespace {

// Messages whose descriptors are kept at once: what a user's waiting jobs and questions to polkit need. Root's have
// room of their own.
constexpr std::size_t max_keepers = 192, max_keepers_of_user = 48;
// Keepers that are started within RECENTLY. A fork takes milliseconds of the bus thread, and the bus refuses calls of
// everybody when what it has for imaged is not read in time. Root's are limited by the number above alone.
constexpr std::size_t max_recent = 48, max_recent_of_user = 16;
constexpr std::chrono::seconds recently(1);
// A header that is longer has more text than a message may have (message-limit.hpp); libsystemd drops the message.
constexpr std::size_t max_header_bytes = 16 * 1024;
// A keeper that has not taken its files by then gets none.
constexpr int start_milliseconds = 1000;

// The one that receives for this thread.
thread_local ReceivedFiles* receiver = nullptr;

ssize_t receive_now(int socket, msghdr& message, int flags) {
    return ::syscall(SYS_recvmsg, socket, &message, flags);
}

// Never a descriptor: the kernel drops what there is no room for, without closing it, and says so by MSG_CTRUNC.
struct Plain {
    ssize_t size = 0;  // as recvmsg(2) returns it
    // With MSG_PEEK those of any message that has come: the kernel looks on until it finds some.
    bool had_descriptors = false;
};
Plain receive_plain(int socket, std::span<std::byte> buffer, int flags = 0) {
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const auto count = receive_now(socket, message, flags | MSG_DONTWAIT);
    return {count, count > 0 && (message.msg_flags & MSG_CTRUNC) != 0};
}

void hand_over(std::vector<FileDescriptor>& files, msghdr& message, std::size_t room) {
    std::vector<int> numbers;
    for (const auto& file : files) numbers.push_back(file.get());
    if (numbers.empty() || CMSG_SPACE(numbers.size() * sizeof(int)) > room) return;
    put_descriptors(message, numbers);
    for (auto& file : files) file.release();
}

}  // namespace

ReceivedFiles::ReceivedFiles() {
    receiver = this;
}

ReceivedFiles::~ReceivedFiles() {
    receiver = nullptr;
}

void ReceivedFiles::start(EventLoop& loop, int socket, FindUser find_user) {
    loop_ = &loop;
    socket_ = socket;
    find_user_ = std::move(find_user);
}

void ReceivedFiles::require_use() const {
    if (!is_used_)
        throw Error(ErrorKind::failed,
                    "libsystemd receives messages in a way that imaged does not know of, so descriptors of callers "
                    "could stop it: it does not serve");
}

// The descriptors of a message come with its first byte.
ssize_t ReceivedFiles::receive(int socket, msghdr& message) noexcept {
    is_used_ = true;
    message.msg_flags = 0;
    const auto room = std::exchange(message.msg_controllen, 0);
    const auto& part = message.msg_iov[0];
    const std::span buffer(static_cast<std::byte*>(part.iov_base), part.iov_len);
    if (socket != socket_) return receive_plain(socket, buffer).size;
    std::vector<FileDescriptor> files;
    const bool is_start = unread_ == 0;
    if (is_start && plain_ < message_prefix_bytes) {
        if (const auto seen = look(files); seen <= 0) return seen;
    }
    const auto size = receive_plain(socket, buffer.first(std::min(buffer.size(), is_start ? plain_ : unread_))).size;
    if (size <= 0) return size;
    const auto count = static_cast<std::size_t>(size);
    if (is_start && count >= message_prefix_bytes) unread_ = message_length(buffer.first<message_prefix_bytes>());
    unread_ -= std::min(unread_, count);
    plain_ -= std::min(plain_, count);
    hand_over(files, message, room);
    return size;
}

// Looks at what has come, and takes its FILES if a message with descriptors is next. As recvmsg(2).
ssize_t ReceivedFiles::look(std::vector<FileDescriptor>& files) {
    int queued = 0;
    ::ioctl(socket_, FIONREAD, &queued);
    std::array<std::byte, message_prefix_bytes> prefix;
    const auto seen = receive_plain(socket_, prefix, MSG_PEEK);
    if (seen.size > 0 && static_cast<std::size_t>(seen.size) < prefix.size()) {
        errno = EAGAIN;
        return -1;
    }
    if (seen.size <= 0) return seen.size;
    if (seen.had_descriptors) files = keep_next();
    plain_ = seen.had_descriptors ? message_length(prefix) : std::max<std::size_t>(prefix.size(), queued);
    return seen.size;
}

// Sockets for the descriptors of the message that comes next. None if that fails: libsystemd drops a message that
// has fewer than it says.
std::vector<FileDescriptor> ReceivedFiles::keep_next() noexcept {
    std::array<std::byte, max_header_bytes> bytes;
    const auto size = receive_plain(socket_, bytes, MSG_PEEK).size;
    try {
        const auto start =
            parse_message_start(std::span(bytes).first(static_cast<std::size_t>(std::max<ssize_t>(size, 0))));
        if (start && start->descriptors > 0) return keep(start->descriptors, start->sender);
    } catch (const std::exception&) {
    }
    return {};
}

// Sockets for the COUNT descriptors that come next, to a keeper or to nobody.
std::vector<FileDescriptor> ReceivedFiles::keep(std::size_t count, const std::optional<std::string>& sender) {
    std::vector<FileDescriptor> sockets, ends;
    for (std::size_t i = 0; i < count; ++i) {
        auto [ours, theirs] = make_socket_pair(SOCK_SEQPACKET);
        sockets.push_back(std::move(ours));
        ends.push_back(std::move(theirs));
    }
    forget_ended();
    const auto uid = sender ? find_user_(*sender) : std::nullopt;
    if (uid && has_room(*uid)) {
        start_keeper(*uid, ends);
    } else {
        for (const auto& end : ends) refuse_file(end.get());
    }
    return sockets;
}

void ReceivedFiles::start_keeper(uid_t uid, const std::vector<FileDescriptor>& ends) {
    auto [taken, taking] = make_pipe();
    std::vector<int> numbers;
    for (const auto& end : ends) numbers.push_back(end.get());
    auto process = ChildProcess::copy("fork");
    if (process.is_copy()) {
        receiver = nullptr;
        keep_files(socket_, numbers, taking.get());
    }
    taking.reset();
    if (!is_hung_up(taken.get(), start_milliseconds)) process.signal(SIGKILL);
    const auto& keeper = keepers_.emplace_back(Keeper{uid, std::move(process), EventLoop::Clock::now()});
    loop_->watch(keeper.process.fd(), [this] { forget_ended(); });
}

bool ReceivedFiles::has_room(uid_t uid) const {
    const auto since = EventLoop::Clock::now() - recently;
    std::size_t of_user = 0, recent_of_user = 0, of_users = 0, recent_of_users = 0;
    for (const auto& keeper : keepers_) {
        const bool is_recent = keeper.started > since;
        if (keeper.uid == uid) ++of_user, recent_of_user += is_recent;
        if (keeper.uid != 0) ++of_users, recent_of_users += is_recent;
    }
    if (of_user >= max_keepers_of_user) return false;
    return uid == 0 || (recent_of_user < max_recent_of_user && of_users < max_keepers && recent_of_users < max_recent);
}

// One that has ended counts until it is no longer recent.
void ReceivedFiles::forget_ended() {
    const auto since = EventLoop::Clock::now() - recently;
    std::erase_if(keepers_, [&](Keeper& keeper) {
        if (!keeper.process.ended()) return false;
        loop_->unwatch(keeper.process.fd());
        return keeper.started <= since;
    });
}

}  // namespace imaged

// In place of the C library's, for libsystemd too.
extern "C" __attribute__((visibility("default"))) ssize_t recvmsg(int socket, msghdr* message, int flags) {
    if (imaged::receiver != nullptr && message->msg_control != nullptr && message->msg_iovlen == 1)
        return imaged::receiver->receive(socket, *message);
    return imaged::receive_now(socket, *message, flags);
}
