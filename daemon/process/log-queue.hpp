// SPDX-License-Identifier: Apache-2.0
// A bounded queue of log messages. A thread writes them, so that a journal or a pipe that nobody reads never blocks the
// daemon. Messages that do not fit are dropped and counted; the next message that is written reports the count.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include <spdlog/spdlog.h>

namespace imaged::log_queue {

// Has the queue's thread run WRITE, which may block. Any thread.
void add(std::function<void()> write) noexcept;

// Waits until everything is written, at most LIMIT.
void flush(std::chrono::milliseconds limit) noexcept;

// A logger that writes to standard error by way of the queue.
std::shared_ptr<spdlog::logger> make_logger();

}  // namespace imaged::log_queue
