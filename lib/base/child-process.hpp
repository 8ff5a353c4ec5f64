// SPDX-License-Identifier: Apache-2.0
// Processes that this one starts.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file-descriptor.hpp"

namespace imaged {

// The exit status of a shell for a program that it cannot run.
inline constexpr int cannot_run = 127;

struct Program {
    std::vector<std::string> command;
    // The program, looked for in PATH unless it has a slash; by default the first word of the command.
    std::optional<std::string> file = {};
    // This process's own unless it is set.
    std::optional<std::vector<std::string>> environment = {};
    // The descriptor FROM of this process becomes its number TO. It has no others but standard input, output and error,
    // which are this process's own unless they are named here.
    struct Descriptor {
        int from, to;
    };
    std::vector<Descriptor> descriptors = {};
    // A signal that it gets when the thread that starts it ends.
    std::optional<int> death_signal = {};
    bool own_group = false;      // a process group of its own
    bool fresh_signals = false;  // none blocked or ignored
    // Called in the new process before all that is done to descriptors: only what is safe after a fork of a process
    // with threads (signal-safety(7)). What it throws becomes the child's failure().
    std::function<void()> prepare = {};
};

// A child of this process. It goes on when this object is gone. Not thread-safe.
class ChildProcess {
public:
    ChildProcess() = default;
    ChildProcess(ChildProcess&& other) noexcept;
    ChildProcess& operator=(ChildProcess&& other) noexcept;

    // Throws a system error, "WHAT: …". A child that cannot run its program ends with the status 127.
    static ChildProcess start(const Program& program, const std::string& what);
    // A copy of this process, which goes on behind this call as this one does; for all that is not another program.
    static ChildProcess copy(const std::string& what);
    // Whether this process is that copy.
    bool is_copy() const { return pid_ == 0; }

    // Whether there is one that has not been waited for.
    explicit operator bool() const { return pid_ > 0 && !status_; }
    pid_t pid() const { return pid_; }
    // Readable when it has ended. Owned by this object. Throws a system error.
    int fd() const;
    // Does nothing to one that has been waited for.
    void signal(int number) const;
    void signal_group(int number) const;

    // The status as wait(2) gives it. ended() does not wait, and returns nullopt while the child runs.
    std::optional<int> ended();
    std::optional<int> ended_within(std::chrono::milliseconds limit);
    int wait();
    // Kills it and waits.
    int end();
    // After the end of a child of start(): why it did not run its program ("cannot run FILE: …"); nullopt if it did.
    std::optional<std::string> failure() const;

private:
    pid_t pid_ = -1;  // 0 in a copy
    std::optional<int> status_;
    mutable FileDescriptor fd_;
    FileDescriptor report_;  // failure() comes here; empty for a copy
};

// Closes all descriptors but those in KEPT, which are sorted. For a new process.
void close_others(std::span<const int> kept);

}  // namespace imaged
