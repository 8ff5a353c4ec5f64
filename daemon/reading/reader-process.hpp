// SPDX-License-Identifier: Apache-2.0
// Another process of this program, which reads the repository for it (repository-service.hpp). A process that waits
// for a file system that does not answer cannot be ended, not even by SIGKILL; the daemon, which does not wait, can.
//
// Over a socket: a question in JSON on one line, then an AnswerHeader (repository-service.hpp), the answer in JSON,
// {"value": …} or {"error": …, "message": …}, and the document.
#pragma once

#include <cstddef>
#include <mutex>
#include <span>
#include <string>

#include "base/child-process.hpp"
#include "base/json-fwd.hpp"

namespace imaged {

class ReaderProcess {
public:
    explicit ReaderProcess(std::string repository) : repository_(std::move(repository)) {}
    ~ReaderProcess() { end(); }
    ReaderProcess& operator=(ReaderProcess&&) = delete;

    // Waits for the answer. Starts the process for the first question, and again if it has ended since. Throws the
    // Error that is the answer, or Error(failed) if there is none. Always from the same thread; the process ends with
    // it.
    // DOCUMENT becomes the document that goes with the answer; within it, it would be written and read once more.
    nlohmann::json ask(const nlohmann::json& question, std::string* document = nullptr);

    // Ends the process, which has answered, and waits for it. The asking thread's own.
    void finish();

    // From any thread: kills the process, and does not wait for it. No question is answered from then on.
    void end();

private:
    void start();
    // Sends LINE and returns the answer. Stores the document that follows the answer, if any, in DOCUMENT.
    nlohmann::json exchange(const std::string& line, std::string& document);
    void receive(std::span<std::byte> bytes);
    ChildProcess take_process();
    [[noreturn]] void lose();

    const std::string repository_;
    FileDescriptor channel_;  // the asking thread's own
    std::mutex mutex_;
    ChildProcess process_;  // with the mutex held; none when it was reaped
    bool ended_ = false;
};

}  // namespace imaged
