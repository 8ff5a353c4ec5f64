// SPDX-License-Identifier: Apache-2.0
#include "several-hosts.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/child-process.hpp"
#include "base/error.hpp"
#include "base/printable.hpp"
#include "job-verb.hpp"
#include "ui/display-text.hpp"
#include "ui/progress-display.hpp"

namespace imagectl {

namespace {

using imaged::ChildProcess;
using imaged::DescriptorPair;
using Json = nlohmann::ordered_json;

// A line that is longer is printed in parts.
constexpr std::size_t max_line = 1024 * 1024;
// Of JSON; nothing of what is longer is taken.
constexpr std::size_t max_document = 64 * 1024 * 1024;
// Of one that has ended: what it left in its pipes, and no end of what others write there.
constexpr int max_last_reads = 64;
constexpr int redraw_milliseconds = 100;
// A killed process's exit code, as a shell has it.
constexpr int of_signal = 128;

DescriptorPair make_pipe() {
    auto pipe = imaged::make_pipe();
    ::fcntl(pipe.ours.get(), F_SETFL, O_NONBLOCK);
    return pipe;
}

struct Host {
    std::string name;
    ChildProcess process;
    int code = 0;
    struct Stream {
        imaged::FileDescriptor fd;  // none at its end
        std::string text;
    };
    Stream out, err, events;
    std::string state = "connecting";
    bool running() const { return bool(process); }
};

// In the new process.
[[noreturn]] void run(const Arguments& arguments, const std::function<int(const Arguments&)>& verb, int out, int err,
                      pid_t parent) {
    // Away from the terminal, so that no ssh asks there for a password, or gets its signals.
    ::setsid();
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::setenv("SSH_ASKPASS_REQUIRE", "never", 1);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(null, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    const int status = verb(arguments);
    std::fflush(stdout);
    std::fflush(stderr);
    ::_exit(status);
}

class Hosts {
public:
    explicit Hosts(const Arguments& arguments)
        : arguments_(arguments), live_(progress_style(true) == ProgressStyle::live && wants_progress(arguments)) {
        sigset_t signals;
        ::sigemptyset(&signals);
        for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::sigaddset(&signals, number);
        ::sigprocmask(SIG_BLOCK, &signals, nullptr);
        signals_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    }

    // A host that has no process for want of memory or descriptors has failed; the others go on.
    void start(const std::function<int(const Arguments&)>& verb) {
        for (const auto& name : arguments_.hosts) {
            hosts_.push_back({.name = name});
            auto& host = hosts_.back();
            try {
                start(host, verb);
            } catch (const BusError& error) {
                host.code = static_cast<int>(ExitCode::failed);
                host.err.text = std::string("imagectl: ") + error.what() + "\n";
                take_lines(host, host.err);
                finish(host);
            }
        }
    }

    int wait() {
        while (std::any_of(hosts_.begin(), hosts_.end(), [](const Host& host) { return host.running(); })) {
            const bool drawn = draw();
            std::vector<pollfd> ready{{signals_, POLLIN, 0}};
            for (const auto& host : hosts_)
                for (const auto* stream : {&host.out, &host.err, &host.events})
                    ready.push_back({stream->fd.get(), POLLIN, 0});
            if (::poll(ready.data(), ready.size(), drawn ? -1 : redraw_milliseconds) < 0) continue;
            for (std::size_t i = 0; i < hosts_.size(); ++i) {
                auto& host = hosts_[i];
                if (ready[3 * i + 1].revents != 0) read(host, host.out);
                if (ready[3 * i + 2].revents != 0) read(host, host.err);
                if (ready[3 * i + 3].revents != 0) read(host, host.events);
            }
            if (ready[0].revents != 0) take_signals();
        }
        erase();
        if (!failure_.empty()) throw BusError("", failure_);
        return worst_;
    }

private:
    static bool wants_progress(const Arguments& arguments) {
        return !arguments.quiet && !arguments.no_progress && arguments.progress == "auto";
    }

    void start(Host& host, const std::function<int(const Arguments&)>& verb) {
        auto own = arguments_;
        own.bus = {Bus::Kind::host, host.name};
        if (live_) own.progress = "none";
        const pid_t parent = ::getpid();
        try {
            auto out = make_pipe(), err = make_pipe(), events = live_ ? make_pipe() : DescriptorPair();
            if (live_) own.progress_fd = events.theirs.get();
            host.process = ChildProcess::copy("fork");
            if (host.process.is_copy()) run(own, verb, out.theirs.get(), err.theirs.get(), parent);
            host.out.fd = std::move(out.ours);
            host.err.fd = std::move(err.ours);
            host.events.fd = std::move(events.ours);
        } catch (const imaged::Error& error) {
            throw BusError("", error.what());
        }
    }

    void take_signals() {
        signalfd_siginfo signal{};
        while (::read(signals_, &signal, sizeof signal) == sizeof signal) {
            if (signal.ssi_signo == SIGCHLD) continue;
            if (live_ && !std::exchange(announced_, true))
                print(stderr, "imagectl: cancelling on each host; press Ctrl-C again to leave at once");
            for (const auto& host : hosts_) host.process.signal(static_cast<int>(signal.ssi_signo));
        }
        for (auto& host : hosts_) {
            if (!host.running()) continue;
            const auto status = host.process.ended();
            if (!status) continue;
            // What its ssh left behind.
            ::kill(-host.process.pid(), SIGTERM);
            host.code = WIFEXITED(*status) ? WEXITSTATUS(*status) : of_signal + WTERMSIG(*status);
            finish(host);
        }
    }

    // What is there; others than the process may hold the other end open.
    // False when there was nothing.
    bool read(Host& host, Host::Stream& stream) {
        if (!stream.fd) return false;
        std::array<char, 16 * 1024> buffer{};
        const auto count = ::read(stream.fd.get(), buffer.data(), buffer.size());
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) return false;
        if (count > 0) stream.text.append(buffer.data(), static_cast<std::size_t>(count));
        if (count <= 0) stream.fd.reset();
        const bool is_document = arguments_.json && &stream == &host.out;  // read at its end
        if (is_document && stream.text.size() > max_document) stream.fd.reset();
        if (!is_document) take_lines(host, stream);
        return count > 0;
    }

    void take_lines(Host& host, Host::Stream& stream) {
        std::size_t begin = 0;
        for (std::size_t end = 0; (end = stream.text.find('\n', begin)) != std::string::npos; begin = end + 1) {
            take_line(host, stream, stream.text.substr(begin, end - begin));
        }
        stream.text.erase(0, begin);
        if (stream.text.size() > max_line || (!stream.fd && !stream.text.empty()))
            take_line(host, stream, std::exchange(stream.text, {}));
    }

    void take_line(Host& host, const Host::Stream& stream, const std::string& line) {
        if (&stream == &host.events) {
            const auto event = Json::parse(line, nullptr, false);
            if (event.is_object() && event.contains("task")) host.state = progress_of(event);
            return;
        }
        print(&stream == &host.out ? stdout : stderr, host.name + ": " + line);
    }

    static std::string progress_of(const Json& event) {
        auto text = event.value("task", "");
        const auto total = event.value("bytesTotal", std::uint64_t{0}), done = event.value("bytes", std::uint64_t{0});
        if (total > 0)
            text += " " + std::to_string(done * 100 / total) + "% " + human_bytes(done) + "/" + human_bytes(total);
        return text;
    }

    void finish(Host& host) {
        for (auto* stream : {&host.out, &host.err, &host.events}) {
            for (int reads = 0; reads < max_last_reads && read(host, *stream);) ++reads;
            stream->fd.reset();
            if (!arguments_.json || stream != &host.out) take_lines(host, *stream);
        }
        worst_ = std::max(worst_, host.code);
        if (!arguments_.json) return;
        auto result = Json::parse(host.out.text, nullptr, false);
        if (result.is_discarded()) result = host.out.text.empty() ? Json() : Json(host.out.text);
        const Json line = {{"host", host.name}, {"exit-code", host.code}, {"result", std::move(result)}};
        print(stdout, line.dump(-1, ' ', false, Json::error_handler_t::replace));
    }

    void print(FILE* file, const std::string& line) {
        erase();
        if (file == stderr) {
            std::fprintf(file, "%s\n", imaged::printable(line).c_str());
            return;
        }
        if (!failure_.empty()) return;
        try {
            print_result(line + "\n");
        } catch (const BusError& error) {
            failure_ = error.what();  // reported when all have ended: their jobs are not to be cancelled for it
        }
    }

    void erase() {
        if (drawn_ > 0) std::fprintf(stderr, "\x1b[%zuA\r\x1b[J", drawn_);
        drawn_ = 0;
        std::fflush(stderr);
    }

    // False when it was too early to draw: call again after redraw_milliseconds.
    bool draw() {
        if (!live_) return true;
        const auto now = std::chrono::steady_clock::now();
        if (drawn_ > 0 && now - last_drawn_ < std::chrono::milliseconds(redraw_milliseconds)) return false;
        last_drawn_ = now;
        winsize size{};
        if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2 || size.ws_row < 2) size = {24, 80, 0, 0};
        const std::size_t width = size.ws_col - 1U, name_width = std::max<std::size_t>(width, 40) - 30;
        std::string frame = drawn_ > 0 ? "\x1b[" + std::to_string(drawn_) + "A\r\x1b[J" : std::string();
        std::size_t lines = 0, more = 0;
        for (const auto& host : hosts_) {
            if (!host.running()) continue;
            // A frame that fills the last row would scroll; one row is for those that have no room.
            if (lines + 2 >= size.ws_row) {
                ++more;
                continue;
            }
            frame += fit(fit(escaped(host.name), name_width) + ": " + escaped(host.state), width) + "\n";
            ++lines;
        }
        if (more > 0) frame += fit("and " + std::to_string(more) + " more", width) + "\n";
        std::fputs(frame.c_str(), stderr);
        std::fflush(stderr);
        drawn_ = lines + (more > 0 ? 1 : 0);
        return true;
    }

    const Arguments& arguments_;
    const bool live_;
    int signals_ = -1, worst_ = 0;
    bool announced_ = false;
    std::string failure_;
    std::size_t drawn_ = 0;
    std::chrono::steady_clock::time_point last_drawn_;
    std::vector<Host> hosts_;
};

}  // namespace

int run_on_hosts(const Arguments& arguments, const std::function<int(const Arguments&)>& verb) {
    Hosts hosts(arguments);
    hosts.start(verb);
    return hosts.wait();
}

}  // namespace imagectl
