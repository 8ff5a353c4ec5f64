// SPDX-License-Identifier: Apache-2.0
#include "jobs/worker-process.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "base/background-priority.hpp"
#include "base/error.hpp"
#include "base/socket-message.hpp"

namespace imaged {

namespace {

using namespace std::chrono_literals;

// A caller that waits for a cancelled job waits two seconds at most: this, and the time to reap the process.
constexpr auto stop_grace = 1500ms;
// A killed process ends within milliseconds, unless the kernel waits for a file system or a device.
constexpr auto abandon_grace = 1s;
// Read at most this much before the bus gets its turn.
constexpr std::size_t max_bytes_a_turn = 256 * 1024;
// Of what a worker and its skopeo print, which no message of theirs needs: so much goes to the log.
constexpr std::size_t max_output_logged = 8 * 1024, max_output_line = 1024;
constexpr int channel_number = 3, auth_file_number = 4, input_file_number = 5;
// Skopeo inherits it. Who waits for an answer of the daemon's goes before who waits for an image.
constexpr int worker_nice = 5;
constexpr std::array always_passed{"PATH", "HOME", "TMPDIR", "LANG", "XDG_RUNTIME_DIR"};

std::vector<std::string> environment(const WorkerSettings& settings) {
    std::vector<std::string> variables;
    const auto pass = [&](const char* name) {
        if (const char* value = std::getenv(name)) variables.push_back(std::string(name) + "=" + value);
    };
    for (const auto* name : always_passed) pass(name);
    for (const auto& name : settings.pass_environment) pass(name.c_str());
    return variables;
}

}  // namespace

WorkerProcess::WorkerProcess(EventLoop& loop, const WorkerSettings& settings, job::Request request, JobFiles files,
                             OnMessage on_message, OnEnd on_end)
    : loop_(loop), request_(std::move(request)), on_message_(std::move(on_message)), on_end_(std::move(on_end)) {
    auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
    channel_ = std::move(ours);
    auto [printed, output] = make_pipe();
    output_ = std::move(printed);
    const auto null = open_at(AT_FDCWD, "/dev/null", O_RDONLY);
    Program program{.command = {settings.program},
                    .environment = environment(settings),
                    .descriptors = {{null.get(), STDIN_FILENO},
                                    {output.get(), STDOUT_FILENO},
                                    {output.get(), STDERR_FILENO},
                                    {theirs.get(), channel_number}},
                    .death_signal = SIGTERM,
                    .own_group = true,
                    .fresh_signals = true,
                    .prepare = [background = request_.background] {
                        [[maybe_unused]] const int level = ::nice(worker_nice);
                        if (background) take_background_priority();
                    }};
    const auto pass_on = [&](const FileDescriptor& file, int number) {
        if (file) program.descriptors.push_back({file.get(), number});
        return file ? std::optional(number) : std::nullopt;
    };
    request_.auth_file = pass_on(files.auth, auth_file_number);
    request_.input_file = pass_on(files.input, input_file_number);
    // A line of a few kilobytes fits into the socket at once, so this never waits for the worker.
    const auto line = job::encode(request_);
    write_all(channel_.get(), std::as_bytes(std::span(line)), "send the request");

    process_ = std::make_shared<ChildProcess>(ChildProcess::start(program, "start a process for the worker"));
    pid_ = process_->pid();
    try {
        loop_.watch(process_->fd(), [this] { process_ended(); });
    } catch (...) {
        process_->signal_group(SIGKILL);
        throw;
    }
    ::fcntl(channel_.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    loop_.watch(channel_.get(), [this] { read_channel(); });
    loop_.watch(output_.get(), [this] { read_output(); });
}

WorkerProcess::~WorkerProcess() {
    close_channel();
    close_output();
    if (!process_) return;
    process_->signal_group(SIGKILL);
    // Reaped when it ends. Until then its number belongs to nobody else.
    loop_.watch(process_->fd(), [&loop = loop_, process = process_] {
        process->ended();
        loop.unwatch(process->fd());
    });
}

void WorkerProcess::stop() {
    if (stopping_ || !process_) return;
    stopping_ = true;
    process_->signal(SIGTERM);
    kill_later();
}

void WorkerProcess::kill_later() {
    if (kill_timer_) return;
    kill_timer_ = loop_.after(stop_grace, [this] { kill_now(); });
}

void WorkerProcess::kill_now() {
    process_->signal_group(SIGKILL);
    kill_timer_ = loop_.after(abandon_grace, [this] { abandon(); });
}

void WorkerProcess::read_channel() {
    std::array<char, 64 * 1024> buffer;
    for (std::size_t turn = 0; channel_ && turn < max_bytes_a_turn;) {
        const auto count = ::recv(channel_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) {
            close_channel();
            return;
        }
        turn += static_cast<std::size_t>(count);
        input_.append(buffer.data(), static_cast<std::size_t>(count));
        take_lines();
    }
}

void WorkerProcess::read_output() {
    std::array<char, 64 * 1024> buffer;
    const auto count = ::read(output_.get(), buffer.data(), buffer.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (count <= 0) return close_output();
    for (const char character : std::string_view(buffer.data(), static_cast<std::size_t>(count))) {
        if (output_logged_ + output_line_.size() >= max_output_logged) {
            ++output_dropped_;
        } else if (character == '\n' || output_line_.size() >= max_output_line) {
            log_output(std::exchange(output_line_, {}));
        } else {
            // Nothing of it is ours: no terminal and no journal gets its control characters.
            output_line_ += character >= ' ' && character <= '~' ? character : '?';
        }
    }
}

void WorkerProcess::log_output(std::string_view line) {
    if (line.empty()) return;
    output_logged_ += line.size();
    spdlog::warn("worker {}: {}", pid_, line);
}

void WorkerProcess::close_output() {
    if (!output_) return;
    loop_.unwatch(output_.get());
    output_.reset();
    log_output(std::exchange(output_line_, {}));
    if (output_dropped_ > 0) spdlog::warn("worker {} printed {} bytes more, which were dropped", pid_, output_dropped_);
}

void WorkerProcess::take_lines() {
    std::size_t start = 0;
    while (channel_) {
        const auto end = input_.find('\n', std::max(start, searched_));
        if (end == std::string::npos) break;
        take_line(std::string_view(input_).substr(start, end - start));
        start = end + 1;
    }
    input_.erase(0, start);
    searched_ = input_.size();
    if (input_.size() > job::max_message_bytes) break_off("a message longer than the limit");
}

void WorkerProcess::take_line(std::string_view line) {
    try {
        auto message = job::decode_message(line);
        if (auto* result = std::get_if<job::Result>(&message)) {
            result_ = std::move(*result);
            job::keep_own_news(*result_, request_);
            // All has been said; a worker that does not end by itself now is ended.
            close_channel();
            kill_later();
        } else {
            on_message_(message);
        }
    } catch (const std::exception& error) {
        break_off(error.what());
    }
}

void WorkerProcess::close_channel() {
    if (!channel_) return;
    loop_.unwatch(channel_.get());
    channel_.reset();
}

void WorkerProcess::break_off(const std::string& why) {
    protocol_error_ = "the worker sent an invalid message: " + why;
    close_channel();
    kill_now();
}

void WorkerProcess::process_ended() {
    // What it wrote before it ended is still in the socket.
    while (channel_ && is_readable(channel_.get())) read_channel();
    close_channel();
    if (output_) read_output();
    close_output();
    kill_timer_ = {};
    loop_.unwatch(process_->fd());
    // Before it is reaped its number, and so the group's, belongs to nobody else.
    process_->signal_group(SIGKILL);
    const auto process = std::exchange(process_, {});
    process->ended();
    report(result_ && protocol_error_.empty() ? *result_ : result_without_message(*process));
}

void WorkerProcess::abandon() {
    report(result_.value_or(job::failed(
        Error(stopping_ ? ErrorKind::cancelled : ErrorKind::failed,
              (stopping_ ? "the job was cancelled, but its worker (process " : "the worker (process ") +
                  std::to_string(pid_) +
                  ") cannot be killed: it waits for a file system or a device that does not answer; imaged has "
                  "abandoned it"))));
}

void WorkerProcess::report(const job::Result& result) {
    // Nothing of this object is touched after the call.
    const auto on_end = std::move(on_end_);
    on_end(result);
}

job::Result WorkerProcess::result_without_message(ChildProcess& process) const {
    if (stopping_) return job::failed(Error(ErrorKind::cancelled, "the job was cancelled"));
    return job::failed(Error(ErrorKind::failed,
                             protocol_error_.empty() ? "worker ended with " + how_it_ended(process) : protocol_error_));
}

std::string WorkerProcess::how_it_ended(ChildProcess& process) {
    const int status = process.ended().value_or(0);
    if (WIFSIGNALED(status)) {
        const int signal = WTERMSIG(status);
        auto text = "signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
        // Not by this program, which would have reported something else.
        if (signal == SIGKILL)
            text += "; the kernel does that when memory is short, the machine's or the service's (MemoryMax=)";
        return text;
    }
    if (const auto why = process.failure()) return "status 127: " + *why;
    return "status " + std::to_string(WEXITSTATUS(status)) + " without a result";
}

}  // namespace imaged
