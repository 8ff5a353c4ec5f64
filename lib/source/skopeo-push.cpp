// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo-push.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "source/skopeo-error.hpp"
#include "source/skopeo.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_message_bytes = 64 * 1024;
constexpr std::size_t max_io_bytes = 4096;
constexpr std::chrono::milliseconds look_interval(500);

// What the process has read and written so far, sockets included (proc(5), /proc/pid/io).
std::string traffic(pid_t process) {
    if (process <= 0) return {};
    const auto file = try_open_at(AT_FDCWD, "/proc/" + std::to_string(process) + "/io", O_RDONLY);
    return file ? read_all(file.get(), max_io_bytes, "the traffic of skopeo") : std::string();
}

// What skopeo says on its standard error, to its end.
std::string watch(pid_t process, int messages, const Cancellation& cancellation, std::chrono::milliseconds stall_time) {
    std::string text, seen;
    auto changed = std::chrono::steady_clock::now();
    for (;;) {
        cancellation.check();
        pollfd fds[] = {{messages, POLLIN, 0}, {cancellation.fd(), POLLIN, 0}};
        const int ready = ::poll(fds, 2, static_cast<int>(look_interval.count()));
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (ready > 0 && fds[0].revents != 0) {
            std::array<char, 4096> buffer;
            const auto count = ::read(messages, buffer.data(), buffer.size());
            if (count < 0 && errno != EINTR) throw_errno("read from skopeo");
            if (count == 0) return text;
            if (count > 0 && text.size() < max_message_bytes)
                text.append(buffer.data(), static_cast<std::size_t>(count));
        }
        const auto now = std::chrono::steady_clock::now();
        if (auto current = traffic(process); current != seen) {
            seen = std::move(current);
            changed = now;
        }
        // Of a service, nothing is seen.
        if (process > 0 && now - changed > stall_time)
            throw Error(ErrorKind::source_unreachable, "the push stalled: nothing went or came for " +
                                                           std::to_string(stall_time.count() / 1000) + " seconds");
    }
}

// skopeo logs "time=… level=fatal msg=\"…\"".
std::string last_message(const std::string& text) {
    const auto fatal = text.rfind("msg=\"");
    if (fatal == std::string::npos) return text.empty() ? "skopeo failed without a message" : text;
    const auto begin = fatal + 5;
    auto end = text.find("\"\n", begin);
    if (end == std::string::npos) end = text.size();
    return text.substr(begin, end - begin);
}

}  // namespace

void push_layout(int layout, const std::string& tag, const Digest& digest, const ImageReference& destination,
                 const Cancellation& cancellation, const ProxyOptions& options) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe");
    const FileDescriptor ours(ends[0]);
    FileDescriptor theirs(ends[1]);
    const SkopeoRequest request{SkopeoRequest::Kind::push, destination.image(), wanted_registries_conf(), tag};
    pid_t process = -1;
    FileDescriptor service;
    if (options.service.empty()) {
        process = spawn_skopeo(request, theirs.get(), STDERR_FILENO, options.auth_file, layout);
    } else {
        service = connect_skopeo(options.service, request, theirs.get(), options.auth_file, layout);
    }
    theirs.reset();
    std::string messages;
    try {
        messages = watch(process, ours.get(), cancellation, options.stall_time);
    } catch (...) {
        end_process(process);
        throw;
    }
    int status = 0;
    while (process > 0 && ::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0 || messages.find("level=fatal") != std::string::npos) throw skopeo_error(last_message(messages));
    // How a service ended is not known here; what the registry serves is.
    if (sha256(raw_manifest(destination.image(), cancellation, options)).hex() != digest.hex())
        throw Error(ErrorKind::failed, destination.image() + " serves another manifest than the one that was pushed");
}

}  // namespace imaged
