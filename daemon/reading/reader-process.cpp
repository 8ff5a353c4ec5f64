// SPDX-License-Identifier: Apache-2.0
#include "reading/reader-process.hpp"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>
#include <string_view>
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

nlohmann::json ReaderProcess::ask(const nlohmann::json& question, std::string* document) {
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
    const auto end = text.find('\n');
    auto answer = parse_json(std::string_view(text).substr(0, end));
    if (!answer.is_object()) throw Error(ErrorKind::failed, "the process that reads the repository answers nonsense");
    if (answer.contains("error")) throw Error(error_kind(answer.value("error", "")), answer.value("message", ""));
    text.erase(0, end + 1);
    if (!text.empty()) text.pop_back();
    if (document != nullptr) *document = std::move(text);
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
    std::string answer, end;
    std::vector<char> buffer(64 * 1024);
    // To its end, so that the next answer is that of the next question.
    while (end != end_of_answer) {
        const auto count = ::recv(channel_.get(), buffer.data(), buffer.size(), 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) lose();
        const std::string_view part(buffer.data(), static_cast<std::size_t>(count));
        if (answer.size() <= max_answer_bytes) answer += part;
        end += part.substr(part.size() - std::min(part.size(), end_of_answer.size()));
        if (end.size() > end_of_answer.size()) end.erase(0, end.size() - end_of_answer.size());
    }
    if (answer.size() > max_answer_bytes) throw Error(ErrorKind::failed, "the answer is too long for the bus");
    answer.pop_back();
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
