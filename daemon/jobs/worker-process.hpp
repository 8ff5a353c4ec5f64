// SPDX-License-Identifier: Apache-2.0
// Runs one imaged-worker: starts it, reads its messages, stops and reaps it. Bus thread only.
//
// The worker leads a process group of its own; whatever is left of it when the worker ends is killed. The
// kernel sends it SIGTERM when the daemon dies. Its environment holds only what WorkerSettings names.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/child-process.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"
#include "jobs/job-queue.hpp"
#include "process/event-loop.hpp"

namespace imaged {

struct WorkerSettings {
    std::string program;                        // absolute path
    std::vector<std::string> pass_environment;  // names of variables, beyond the few that are always passed
    job::Settings jobs;                         // what each request is given
};

class WorkerProcess {
public:
    using OnMessage = std::function<void(const job::Message&)>;  // progress only
    using OnEnd = std::function<void(const job::Result&)>;  // exactly once, and the last call; may destroy the process

    // Throws Error(failed) when the worker cannot be started.
    WorkerProcess(EventLoop& loop, const WorkerSettings& settings, job::Request request, JobFiles files,
                  OnMessage on_message, OnEnd on_end);
    // Kills what still runs, and does not wait for it.
    ~WorkerProcess();
    WorkerProcess& operator=(WorkerProcess&&) = delete;

    // SIGTERM now, SIGKILL to the whole group after stop_grace. The end is still reported with on_end: a worker that
    // cannot be killed, because it hangs in the kernel, is abandoned after abandon_grace.
    void stop();
    pid_t pid() const { return pid_; }

private:
    void read_channel();
    void read_output();
    void log_output(std::string_view line);
    void close_output();
    void take_lines();
    void take_line(std::string_view line);
    void close_channel();
    void break_off(const std::string& why);
    void kill_later();
    void kill_now();
    void process_ended();
    void abandon();
    void report(const job::Result& result);
    job::Result result_without_message(ChildProcess& process) const;
    static std::string how_it_ended(ChildProcess& process);

    EventLoop& loop_;
    job::Request request_;
    OnMessage on_message_;
    OnEnd on_end_;
    pid_t pid_ = -1;
    std::shared_ptr<ChildProcess> process_;  // null when it was reaped or abandoned
    FileDescriptor channel_;
    FileDescriptor output_;  // what the worker and its skopeo print
    std::string output_line_;
    std::size_t output_logged_ = 0, output_dropped_ = 0;
    std::string input_;  // an incomplete line
    std::size_t searched_ = 0;
    std::optional<job::Result> result_;
    std::string protocol_error_;
    bool stopping_ = false;
    EventLoop::Timer kill_timer_;
};

}  // namespace imaged
