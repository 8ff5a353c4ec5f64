// SPDX-License-Identifier: Apache-2.0
#include "reading/reader-process.hpp"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>
#include <vector>

#include "base/argument-list.hpp"
#include "base/error.hpp"
#include "process/child-process.hpp"
#include "process/command-line.hpp"
#include "reading/repository-service.hpp"

namespace imaged {

namespace {

// Above what the bus takes in one message.
constexpr std::size_t max_answer_bytes = 32 * 1024 * 1024;

}  // namespace

nlohmann::json ReaderProcess::ask(const nlohmann::json& question) {
    const bool is_new = !channel_;
    if (is_new) start();
    std::string text;
    try {
        text = exchange(json_text(question) + "\n");
    } catch (const Error&) {
        if (is_new || channel_) throw;
        // It may have ended long ago.
        start();
        text = exchange(json_text(question) + "\n");
    }
    auto answer = parse_json(text);
    if (!answer.is_object()) throw Error(ErrorKind::failed, "the process that reads the repository answers nonsense");
    if (answer.contains("error")) throw Error(error_kind(answer.value("error", "")), answer.value("message", ""));
    return std::move(answer["value"]);
}

void ReaderProcess::start() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) throw_errno("socketpair");
    FileDescriptor near_end(ends[0]);
    const FileDescriptor low_end(ends[1]);
    const auto far_end = moved_up(low_end, reader_channel + 1);
    std::vector<std::string> arguments{"imaged", reader_option, repository_};
    const auto pointers = null_terminated(arguments);
    const pid_t parent = ::getpid();
    const std::lock_guard lock(mutex_);
    if (ended_) throw Error(ErrorKind::stopped, "imaged is being stopped");
    const pid_t pid = ::fork();
    if (pid < 0) throw_errno("start the process that reads the repository");
    if (pid == 0) {
        begin_child(parent, SIGKILL);
        if (::dup2(far_end.get(), reader_channel) < 0) ::_exit(cannot_run);
        close_from(reader_channel + 1);
        ::execv("/proc/self/exe", pointers.data());
        ::_exit(cannot_run);
    }
    pid_ = pid;
    channel_ = std::move(near_end);
}

std::string ReaderProcess::exchange(const std::string& line) {
    for (std::size_t sent = 0; sent < line.size();) {
        const auto count = ::send(channel_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) lose();
        sent += static_cast<std::size_t>(count);
    }
    std::string answer;
    std::vector<char> buffer(64 * 1024);
    // To its end, so that the next answer is that of the next question.
    for (bool ended = false; !ended;) {
        const auto count = ::recv(channel_.get(), buffer.data(), buffer.size(), 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) lose();
        if (answer.size() <= max_answer_bytes) answer.append(buffer.data(), static_cast<std::size_t>(count));
        ended = buffer[static_cast<std::size_t>(count) - 1] == '\n';
    }
    if (answer.size() > max_answer_bytes) throw Error(ErrorKind::failed, "the answer is too long for the bus");
    return answer;
}

void ReaderProcess::lose() {
    channel_.reset();
    pid_t pid = -1;
    {
        const std::lock_guard lock(mutex_);
        std::swap(pid, pid_);
    }
    std::string why = "it cannot be asked";
    if (pid >= 0) {
        ::kill(pid, SIGKILL);
        int status = 0;
        if (::waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
            why = std::string("signal ") + ::strsignal(WTERMSIG(status));
        else if (WIFEXITED(status))
            why = "status " + std::to_string(WEXITSTATUS(status));
    }
    throw Error(ErrorKind::failed, "the process that reads the repository has ended: " + why);
}

void ReaderProcess::finish() {
    channel_.reset();
    pid_t pid = -1;
    {
        const std::lock_guard lock(mutex_);
        std::swap(pid, pid_);
    }
    if (pid < 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
}

void ReaderProcess::end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (pid_ >= 0) ::kill(pid_, SIGKILL);
}

}  // namespace imaged
