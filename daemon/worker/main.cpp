// SPDX-License-Identifier: Apache-2.0
// imaged-worker: does one job and ends. The request comes as one line on descriptor 3, progress and the result go back
// the same way (job/job.hpp); further descriptors hold what the request says. SIGTERM cancels.
#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include "auth-file.hpp"
#include "base/cancellation.hpp"
#include "base/error.hpp"
#include "base/kept-file.hpp"
#include "base/requirements.hpp"
#include "base/scratch-directory.hpp"
#include "job-module.hpp"
#include "job/job.hpp"
#include "progress-meter.hpp"
#include "proxy-start.hpp"
#include "sandbox.hpp"

namespace {

using namespace imaged;

constexpr int channel = 3;
// Blocks from this size on go back to the system when they are freed, as those of large directories. By itself, malloc
// would soon take them from the heap, and keep them.
constexpr int mapped_bytes = 1024 * 1024;

// A signal handler reaches nothing else.
Cancellation* job_cancellation = nullptr;

void on_terminate(int) {
    job_cancellation->request();
}

std::string read_request() {
    std::string line;
    char c = 0;
    while (line.size() < job::max_message_bytes) {
        const auto count = ::read(channel, &c, 1);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read the request");
        if (count == 0) throw Error(ErrorKind::failed, "the request ended before its line did");
        line += c;
        if (c == '\n') return line;
    }
    throw Error(ErrorKind::failed, "the request is too long");
}

// All of it or nothing. Returns whether it was sent: one that MAY_DROP is not if the reader has no room for it.
bool send_line(const std::string& line, bool may_drop) {
    for (std::size_t sent = 0; sent < line.size();) {
        const int flags = MSG_NOSIGNAL | (may_drop && sent == 0 ? MSG_DONTWAIT : 0);
        const auto count = ::send(channel, line.data() + sent, line.size() - sent, flags);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno != EAGAIN;  // otherwise nobody listens any more
        sent += static_cast<std::size_t>(count);
    }
    return true;
}

void take_input_file(job::Request& request) {
    if (request.input_file) request.input_file = take_kept_file(FileDescriptor(*request.input_file)).release();
}

job::Result failure(const Error& error) {
    // The error of a cancelled job does not say where the job was.
    return job::failed(error.kind() == ErrorKind::cancelled ? Error(ErrorKind::cancelled, "the job was cancelled")
                                                            : error);
}

}  // namespace

int main() {
    if (::fcntl(channel, F_GETFD) < 0) {
        std::fputs("imaged-worker is started by imaged; it takes its job on descriptor 3.\n", stderr);
        return 2;
    }
    ::umask(022);
    // Another process of the same user can neither trace this one nor read its descriptors or memory.
    ::prctl(PR_SET_DUMPABLE, 0);
    ::mallopt(M_MMAP_THRESHOLD, mapped_bytes);
    job::Result result;
    ProgressMeter meter([](const job::Message& message) { return send_line(job::encode(message), true); });
    try {
        Cancellation cancellation;
        job_cancellation = &cancellation;
        struct sigaction action {};
        action.sa_handler = on_terminate;
        ::sigaction(SIGTERM, &action, nullptr);
        ::sigaction(SIGINT, &action, nullptr);
        // The call fails with EFBIG then, and the error says so.
        ::signal(SIGXFSZ, SIG_IGN);
        // Read first: who leaves what was sent to it unread is not heard either.
        const auto line = read_request();
        require_stack();
        require_proc();
        auto request = job::decode_request(line);
        // A confined job does not see those of others.
        ScratchDirectory::clear_leftovers();
        confine(request);
        take_auth_file(request, cancellation);
        take_input_file(request);
        result = run_loaded_job(request, start_proxy(request), cancellation, meter);
    } catch (...) {
        result = failure(current_error());
    }
    for (const auto& message : meter.unsent()) send_line(job::encode(message), false);
    send_line(job::encode(job::Message(result)), false);
    // What is left needs no clean-up, and a cancelled job should end now.
    ::_exit(0);
}
