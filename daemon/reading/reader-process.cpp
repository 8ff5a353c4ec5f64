// SPDX-License-Identifier: Apache-2.0
#include "reading/reader-process.hpp"

#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/socket-message.hpp"
#include "process/command-line.hpp"
#include "reading/repository-service.hpp"

namespace imaged {

nlohmann::json ReaderProcess::ask(const nlohmann::json& question, std::string* document) {
    const bool is_new = !channel_;
    if (is_new) start();
    nlohmann::json answer;
    std::string text;
    try {
        answer = exchange(json_text(question) + "\n", text);
    } catch (const Error&) {
        if (is_new || channel_) throw;
        // It may have ended long ago.
        start();
        answer = exchange(json_text(question) + "\n", text);
    }
    if (answer.contains("error")) throw Error(error_kind(answer.value("error", "")), answer.value("message", ""));
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

nlohmann::json ReaderProcess::exchange(const std::string& line, std::string& document) {
    if (!send_all(channel_.get(), std::as_bytes(std::span(line)))) lose();
    AnswerHeader header{};
    receive(std::as_writable_bytes(std::span(&header, 1)));
    if (header.answer > max_answer_bytes || header.document > max_answer_bytes) lose();
    std::string text(header.answer, '\0');
    receive(std::as_writable_bytes(std::span(text)));
    document.resize(header.document);
    receive(std::as_writable_bytes(std::span(document)));
    auto answer = parse_json(text);
    if (!answer.is_object()) throw Error(ErrorKind::failed, "the reader process sent an invalid answer");
    return answer;
}

void ReaderProcess::receive(std::span<std::byte> bytes) {
    while (!bytes.empty()) {
        const auto count = ::recv(channel_.get(), bytes.data(), bytes.size(), MSG_WAITALL);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) lose();
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
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
        why = process.failure().value_or(WIFSIGNALED(status) ? std::string("signal ") + ::strsignal(WTERMSIG(status))
                                                             : "status " + std::to_string(WEXITSTATUS(status)));
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
