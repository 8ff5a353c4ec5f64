// SPDX-License-Identifier: Apache-2.0
// imaged-proxy: runs the skopeo that the other end of its socket asks for (source/skopeo/skopeo-request.hpp), or reads
// blobs of a registry for it, and ends that when the other end goes away. systemd starts it for each connection to
// imaged-proxy.socket, as a user who owns nothing, with the connection as descriptor 3.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "base/background-priority.hpp"
#include "base/child-process.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "base/requirements.hpp"
#include "base/scratch-directory.hpp"
#include "base/socket-message.hpp"
#include "blob-service.hpp"
#include "layout-copy.hpp"
#include "process-filter.hpp"
#include "source/skopeo/process-traffic.hpp"
#include "source/skopeo/skopeo-request.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace {

using namespace imaged;

// With the digests of some thousand layers.
constexpr std::size_t max_request_bytes = 128 * 1024;
// A client sends its request at once.
constexpr int request_milliseconds = 10'000;
constexpr const char* traffic_report = R"({"traffic": true})";

struct Packet {
    std::string text;
    std::vector<FileDescriptor> descriptors;
};

Packet receive() {
    if (!is_readable(skopeo_channel, request_milliseconds)) throw Error(ErrorKind::failed, "nothing was asked for");
    std::vector<char> bytes(max_request_bytes);
    iovec buffer{bytes.data(), bytes.size()};
    auto received = receive_message(skopeo_channel, std::span(&buffer, 1), max_skopeo_descriptors);
    if (received.size < 0) throw_errno("receive the request");
    if (received.cut) throw Error(ErrorKind::failed, "the request is too long");
    return {std::string(bytes.data(), static_cast<std::size_t>(received.size)), std::move(received.descriptors)};
}

// Reads all of FILE, also if another process has read from this descriptor before.
std::string content(const FileDescriptor& file, const std::string& what) {
    std::string text;
    std::array<char, 65536> buffer;
    for (;;) {
        const auto count = ::pread(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
        if (count < 0) throw_errno("read " + what);
        if (count == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > max_skopeo_file_bytes) throw Error(ErrorKind::failed, what + " are too long");
    }
}

// skopeo opens its files by name, which this user could not do with those of another.
FileDescriptor own_copy(const FileDescriptor& file, const std::string& what) {
    return memory_file(what, content(file, what));
}

struct Work {
    SkopeoRequest request;
    FileDescriptor output, auth, policy, layout;
};

Work read_work() {
    auto packet = receive();
    auto received = decode_skopeo_request(packet.text);
    const bool has_layout = is_push(received.request.kind);
    if (packet.descriptors.size() !=
        1U + (received.has_auth_file ? 1U : 0U) + (received.has_policy ? 1U : 0U) + (has_layout ? 1U : 0U))
        throw Error(ErrorKind::failed, "the request has other descriptors than it says");
    Work work;
    auto next = packet.descriptors.begin();
    work.output = std::move(*next++);
    if (received.has_auth_file) work.auth = own_copy(*next++, "credentials");
    if (received.has_policy) {
        received.request.policy.emplace();  // its text is in the file
        work.policy = own_copy(*next++, "policy");
    }
    if (has_layout) work.layout = std::move(*next);
    work.request = std::move(received.request);
    return work;
}

ChildProcess start_skopeo(const Work& work, std::vector<std::string> command) {
    // Whatever happens to this process, skopeo does not stay behind.
    Program program{.command = std::move(command), .death_signal = SIGKILL};
    const bool is_proxy = work.request.kind == SkopeoRequest::Kind::image_proxy;
    const int printed = prints_messages(work.request.kind) ? STDERR_FILENO : STDOUT_FILENO;
    program.descriptors.push_back({is_proxy ? skopeo_channel : work.output.get(), is_proxy ? skopeo_channel : printed});
    FileDescriptor nowhere;
    if (is_quiet(work.request.kind)) {
        nowhere = open_at(AT_FDCWD, "/dev/null", O_WRONLY);
        program.descriptors.push_back({nowhere.get(), STDERR_FILENO});
    }
    if (work.auth) program.descriptors.push_back({work.auth.get(), skopeo_auth_file});
    if (work.policy) program.descriptors.push_back({work.policy.get(), skopeo_policy});
    program.prepare = [&work] {
        if (!work.request.host_credentials) {
            // There skopeo would look for credential helpers and stored logins.
            ::unsetenv("PATH");
            ::unsetenv("HOME");
        }
        leave_other_processes_alone();
    };
    return ChildProcess::start(program, "start a process for skopeo");
}

void say(const std::string& report) {
    ::send(skopeo_channel, report.data(), report.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// While this process works for the other end itself.
void go_on() {
    if (is_hung_up(skopeo_channel)) throw Error(ErrorKind::cancelled, "nobody wants it any more");
    say(traffic_report);
}

// Waits for the end of PROCESS, and brings it about when nobody is at the other end of the channel any more. Returns
// its status.
int look_after(ChildProcess& process, bool tells) {
    ProcessTraffic traffic(process.pid());
    std::array<pollfd, 2> fds{pollfd{process.fd(), POLLIN, 0}, pollfd{skopeo_channel, 0, 0}};
    while (true) {
        if (::poll(fds.data(), fds.size(), tells ? static_cast<int>(skopeo_check_interval.count()) : -1) < 0 &&
            errno != EINTR)
            throw_errno("poll");
        if (fds[0].revents != 0) break;
        if (fds[1].revents != 0) {
            process.signal(SIGKILL);
            fds[1].fd = -1;
        } else if (tells && traffic.has_moved()) {
            say(traffic_report);
        }
    }
    return process.wait();
}

// Does WORK to its end. Returns the exit status of skopeo if it was not reported on the socket.
int run(Work work) {
    // Both are read and written by path, and go when skopeo has ended.
    std::optional<PolicyLayout> checked;
    std::optional<LayoutCopy> pushed;
    const auto kind = work.request.kind;
    if (kind == SkopeoRequest::Kind::check_policy) checked.emplace(work.request.blobs);
    if (work.layout) pushed.emplace(work.layout.get(), go_on);
    const auto layout = checked ? checked->path().string() : pushed ? pushed->path().string() : std::string();
    const ScratchDirectory scratch;
    ::setenv("TMPDIR", scratch.path().c_str(), 1);
    auto command = skopeo_command(work.request, static_cast<bool>(work.auth), layout, scratch.path().string());
    auto process = start_skopeo(work, std::move(command));
    // Whoever reads what skopeo prints waits for its end.
    work = {};
    const bool tells = kind != SkopeoRequest::Kind::image_proxy;
    const int status = look_after(process, tells);
    require_skopeo(process);
    nlohmann::json report{{"status", status}};
    if (checked && status == 0) report["manifest"] = checked->manifest_digest();
    if (!tells) return status;
    // The job that asked reports how it ended: a registry that refuses is no failure of the service.
    say(report.dump());
    return 0;
}

}  // namespace

int main() {
    // skopeo, which has the same user, neither traces this process nor writes to its memory.
    ::prctl(PR_SET_DUMPABLE, 0);
    try {
        ::fcntl(skopeo_channel, F_SETFD, FD_CLOEXEC);
        require_stack();
        require_proc();
        ScratchDirectory::clear_leftovers();
        auto work = read_work();
        if (work.request.background) take_background_priority();
        if (work.request.kind == SkopeoRequest::Kind::blobs) serve_blobs(skopeo_channel, work.request, work.auth);
        const int status = run(std::move(work));
        // It is no failure if it was killed because the caller left.
        return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    } catch (...) {
        const auto error = current_error();
        std::fprintf(stderr, "imaged-proxy: %s\n", printable(error.what()).c_str());
        say(nlohmann::json{{"success", false}, {"error", printable(error.what())}}.dump());
        return 1;
    }
}
