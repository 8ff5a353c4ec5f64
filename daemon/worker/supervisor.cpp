// SPDX-License-Identifier: Apache-2.0
#include "supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/child-process.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/socket-message.hpp"
#include "publisher.hpp"
#include "sandbox.hpp"

namespace imaged {

namespace {

// Connections to the skopeo service that one job may have in all. A repair of many images needs a few for each.
constexpr unsigned max_connections = 4096;
// At once: what a job needs, twice over. The socket unit has room for all jobs' (systemd/imaged-proxy.socket).
constexpr std::size_t max_open_connections = 8;
// A service that does not take a connection for so long is reported.
constexpr unsigned connect_seconds = 5;
// A job that does not end after SIGTERM is killed, as imaged would (daemon/jobs/worker-process.cpp) if it were still
// there.
constexpr std::chrono::seconds stop_grace(2);
using Clock = std::chrono::steady_clock;
// The job's own (daemon/jobs/worker-process.cpp): its channel to imaged, then what the request names.
constexpr int channel = 3;
constexpr int first_free_number = 6;

// The number of an error, 0 with a descriptor.
void answer(int channel, int reason, int descriptor) {
    iovec buffer{&reason, sizeof reason};
    // One that does not take its answers gets none.
    send_message(channel, std::span(&buffer, 1), std::span(&descriptor, reason == 0 ? 1 : 0), MSG_DONTWAIT);
}

class Supervisor {
public:
    // PUBLISHER may be null.
    Supervisor(ChildProcess child, FileDescriptor channel, int signals, std::optional<std::string> service,
               std::unique_ptr<Publisher> publisher, JobDirectory& directory)
        : child_(std::move(child)),
          channel_(std::move(channel)),
          signals_(signals),
          service_(std::move(service)),
          publisher_(std::move(publisher)),
          directory_(directory) {}

    [[noreturn]] void run() {
        for (;;) {
            std::vector<pollfd> ready{{signals_, POLLIN, 0},
                                      {channel_.get(), POLLIN, 0},
                                      {publisher_ ? publisher_->channel() : -1, POLLIN, 0}};
            for (const auto& connection : connections_) ready.push_back({connection.get(), 0, 0});
            const int count = ::poll(ready.data(), ready.size(), time_left());
            if (end_ && Clock::now() >= *end_) {
                child_.signal(SIGKILL);
                end_.reset();
            }
            if (count <= 0) continue;
            if (ready.size() > 3) forget_ended_connections();
            if (ready[0].revents != 0) take_signal();
            if (ready[1].revents != 0) take_question();
            if (ready[2].revents != 0) publisher_->serve();
        }
    }

private:
    // Milliseconds until the job is killed; -1 if it is not to end.
    int time_left() const {
        if (!end_) return -1;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(*end_ - Clock::now()).count();
        return static_cast<int>(std::max<long>(left, 0));
    }

    void take_signal() {
        signalfd_siginfo signal{};
        if (::read(signals_, &signal, sizeof signal) != sizeof signal) return;
        if (signal.ssi_signo != SIGCHLD) {
            child_.signal(SIGTERM);
            if (!std::exchange(stopping_, true)) end_ = Clock::now() + stop_grace;
            return;
        }
        const auto ended = child_.ended();
        if (!ended) return;
        connections_.clear();
        publisher_.reset();  // with its scratch directories
        directory_.wait_until_removed();
        if (WIFEXITED(*ended)) ::_exit(WEXITSTATUS(*ended));
        // imaged reports which signal ended a worker.
        const int number = WTERMSIG(*ended);
        ::signal(number, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::raise(number);
        ::_exit(128 + number);
    }

    void take_question() {
        char byte = 0;
        const auto size = ::recv(channel_.get(), &byte, sizeof byte, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (size <= 0) {
            channel_.reset();  // poll(2) ignores it from here on
            return;
        }
        forget_ended_connections();
        if (!service_ || ++connected_ > max_connections) return answer(channel_.get(), EPERM, -1);
        if (connections_.size() >= max_open_connections) return answer(channel_.get(), EMFILE, -1);
        auto connection = connect_to(*service_, SOCK_SEQPACKET, connect_seconds);
        answer(channel_.get(), connection ? 0 : errno, connection.get());
        if (connection) connections_.push_back(std::move(connection));
    }

    // Open here as well, so that they end by shutdown(2) only, which is seen here, or by the service.
    void forget_ended_connections() {
        std::erase_if(connections_, [](const FileDescriptor& connection) { return is_hung_up(connection.get()); });
    }

    ChildProcess child_;
    FileDescriptor channel_;
    const int signals_;
    const std::optional<std::string> service_;
    std::unique_ptr<Publisher> publisher_;
    JobDirectory& directory_;
    unsigned connected_ = 0;
    std::vector<FileDescriptor> connections_;
    bool stopping_ = false;
    std::optional<Clock::time_point> end_;  // when a job that got SIGTERM is killed
};

// Numbers that the request's descriptors do not have.
FileDescriptor moved_up(const FileDescriptor& low) {
    FileDescriptor high(::fcntl(low.get(), F_DUPFD_CLOEXEC, first_free_number));
    if (!high) throw_errno("duplicate a descriptor");
    return high;
}

DescriptorPair pair() {
    const auto low = make_socket_pair(SOCK_SEQPACKET);
    return {moved_up(low.ours), moved_up(low.theirs)};
}

// In the process that does the job.
void become_first_process(const FileDescriptor& channel) {
    // So that kill(0, …) does not reach the parent.
    ::setsid();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have ended before that.
    if (is_hung_up(channel.get())) ::_exit(1);
}

}  // namespace

void supervise(job::Request& request, JobDirectory& directory) {
    auto questions = pair(), changes = pair();
    const auto own = open_at(AT_FDCWD, "/proc/self/ns/pid", O_RDONLY);
    if (::unshare(CLONE_NEWPID) != 0) throw_errno("make a PID namespace for the job");
    sigset_t signals, before;
    ::sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) ::sigaddset(&signals, signal);
    ::sigprocmask(SIG_BLOCK, &signals, &before);
    auto child = ChildProcess::copy("start a process for the job");
    if (child.is_copy()) {
        questions.ours.reset();
        changes.ours.reset();
        directory.leave_to_supervisor();
        become_first_process(questions.theirs);
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
        auto& service = request.settings.skopeo_service;
        if (service) service = "fd:" + std::to_string(questions.theirs.release());
        if (has_publisher(request)) request.publisher = changes.theirs.release();
        return;
    }
    questions.theirs.reset();
    changes.theirs.reset();
    const FileDescriptor incoming(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    std::unique_ptr<Publisher> publisher;
    try {
        if (!incoming) throw_errno("signalfd");
        // What is started from here on is no business of the job's.
        if (::setns(own.get(), CLONE_NEWPID) != 0) throw_errno("return to the PID namespace");
        directory.remove_after(child);
        if (has_publisher(request)) {
            keep_publishing_capabilities();
            publisher = std::make_unique<Publisher>(request, std::move(changes.ours), [signals = incoming.get()] {
                if (is_readable(signals)) throw Error(ErrorKind::cancelled, "the job is to end");
            });
        } else {
            give_up_capabilities();
        }
    } catch (...) {
        child.end();
        throw;  // to be reported in the job's place
    }
    ::close(channel);
    for (const auto& file : {request.auth_file, request.input_file}) {
        if (file) ::close(*file);
    }
    Supervisor(std::move(child), std::move(questions.ours), incoming.get(), request.settings.skopeo_service,
               std::move(publisher), directory)
        .run();
}

}  // namespace imaged
