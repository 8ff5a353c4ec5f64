// SPDX-License-Identifier: Apache-2.0
#include "retry.hpp"

#include <algorithm>
#include <chrono>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

using namespace std::chrono_literals;

// The pause doubles each time: a registry that restarts is back soon, and haste does not help an overloaded one. If a
// registry asks for a longer pause, the job ends instead: the next job is not refused then.
constexpr std::chrono::milliseconds first_wait = 1s, longest_wait = 30s;

void wait(std::chrono::milliseconds time, const Cancellation& job) {
    is_readable(job.fd(), static_cast<int>(time.count()));
    job.check();
}

}  // namespace

job::Result with_retries(unsigned retries, Cancellation& job, const Attempt& attempt) {
    auto pause = first_wait;
    for (unsigned left = retries;; --left) {
        std::chrono::milliseconds asked_for{};
        auto& cancellation = job.begin_part();
        job.check();
        try {
            return attempt(cancellation);
        } catch (...) {
            const auto error = current_error();
            asked_for = error.pause();
            if (error.kind() != ErrorKind::source_unreachable || left == 0 || asked_for > longest_wait) throw;
        }
        wait(std::max(pause, asked_for), job);
        pause = std::min(pause * 2, longest_wait);
    }
}

}  // namespace imaged
