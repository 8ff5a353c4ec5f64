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

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/socket-message.hpp"
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
    auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
    const std::lock_guard lock(mutex_);
    if (ended_) throw Error(ErrorKind::stopped, "imaged is being stopped");
    process_ = ChildProcess::start({.command = {"imaged", reader_option, repository_},
                                    .file = "/proc/self/exe",
                                    .descriptors = {{theirs.get(), reader_channel}},
                                    .death_signal = SIGKILL,
                                    .own_group = true,
                                    .fresh_signals = true},
                                   "start the process that reads the repository");
    channel_ = std::move(ours);
}

std::string ReaderProcess::exchange(const std::string& line) {
    if (!send_all(channel_.get(), std::as_bytes(std::span(line)))) lose();
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

ChildProcess ReaderProcess::take_process() {
    const std::lock_guard lock(mutex_);
    return std::exchange(process_, {});
}

void ReaderProcess::lose() {
    channel_.reset();
    std::string why = "it cannot be asked";
    if (auto process = take_process()) {
        const int status = process.end();
        why = process.failure();
        if (why.empty())
            why = WIFSIGNALED(status) ? std::string("signal ") + ::strsignal(WTERMSIG(status))
                                      : "status " + std::to_string(WEXITSTATUS(status));
    }
    throw Error(ErrorKind::failed, "the process that reads the repository has ended: " + why);
}

void ReaderProcess::finish() {
    channel_.reset();
    take_process().end();
}

void ReaderProcess::end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    process_.signal(SIGKILL);
}

}  // namespace imaged
