// SPDX-License-Identifier: Apache-2.0
// Receives descriptors that come with messages of the bus. Bus thread only.
//
// No such descriptor ever gets into this process: imaged would have to close it, and closing the file of a server that
// does not answer never ends (base/kept-file.hpp). libsystemd receives each message with this program's own recvmsg(2).
// It checks whether descriptors come next; if so, it forks a keeper that receives them, and returns sockets to the
// keeper in their place. Only the keeper waits for them, and the processes that imaged starts do not inherit them.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "base/child-process.hpp"
#include "base/file-descriptor.hpp"
#include "process/event-loop.hpp"

namespace imaged {

class ReceivedFiles {
public:
    // The user behind a unique bus name; nullopt when it has left. Called inside recvmsg(2): it may use another
    // connection only.
    using FindUser = std::function<std::optional<uid_t>(const std::string& bus_name)>;

    // From here on to its end it receives what comes for this thread: it is there before the first connection to the
    // bus, and once.
    ReceivedFiles();
    // Keepers that hang are left behind.
    ~ReceivedFiles();
    ReceivedFiles& operator=(ReceivedFiles&&) = delete;

    // Descriptors that come from SOCKET are kept from here on, no others: a connection to the bus that has its unique
    // name, so that a message comes next. No message is received when LOOP is gone.
    void start(EventLoop& loop, int socket, FindUser find_user);
    // Throws Error(failed) if no message has been received by it, though some have been.
    void require_use() const;

    // Does recvmsg(2) of SOCKET, a stream, without waiting.
    ssize_t receive(int socket, msghdr& message) noexcept;

private:
    struct Keeper {
        uid_t uid;
        ChildProcess process;
        EventLoop::Clock::time_point started;
    };

    ssize_t look(std::vector<FileDescriptor>& files);
    std::vector<FileDescriptor> keep_next() noexcept;
    std::vector<FileDescriptor> keep(std::size_t count, const std::optional<std::string>& sender);
    void start_keeper(uid_t uid, const std::vector<FileDescriptor>& ends);
    bool has_room(uid_t uid) const;
    void forget_ended();

    EventLoop* loop_ = nullptr;
    int socket_ = -1;
    FindUser find_user_;
    std::list<Keeper> keepers_;
    bool is_used_ = false;
    std::size_t unread_ = 0;  // bytes of the message that is being received
    std::size_t plain_ = 0;   // bytes that come without descriptors, at least
};

}  // namespace imaged
