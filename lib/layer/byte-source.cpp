// SPDX-License-Identifier: Apache-2.0
#include "layer/byte-source.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/error.hpp"

namespace imaged {

DescriptorSource::DescriptorSource(int fd, const Cancellation& cancellation, std::chrono::milliseconds stall_time,
                                   std::function<void(std::size_t)> progress)
    : fd_(fd), cancellation_(cancellation), stall_time_(stall_time), progress_(std::move(progress)) {}

std::size_t DescriptorSource::read(std::span<std::byte> buffer) {
    constexpr std::chrono::milliseconds slice(100);
    std::size_t filled = 0;
    auto waited = std::chrono::milliseconds(0);
    while (filled < buffer.size() && !ended_) {
        pollfd fds[] = {{fd_, POLLIN, 0}, {cancellation_.fd(), POLLIN, 0}};
        const int ready = ::poll(fds, 2, static_cast<int>(slice.count()));
        cancellation_.check();
        if (stopped_) throw Error(ErrorKind::cancelled, "reading was stopped");
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (ready == 0) {
            waited += slice;
            if (waited >= stall_time_)
                throw Error(ErrorKind::source_unreachable,
                            "the source stalled: nothing came for " + std::to_string(stall_time_.count() / 1000) + " seconds");
        }
        if (ready <= 0) continue;
        waited = std::chrono::milliseconds(0);
        const auto count = ::read(fd_, buffer.data() + filled, buffer.size() - filled);
        if (count < 0) {
            if (errno == EINTR || errno == EAGAIN) continue;
            throw_errno("read from the source");
        }
        if (count == 0) ended_ = true;
        filled += static_cast<std::size_t>(count);
        total_ += static_cast<std::uint64_t>(count);
        if (progress_ && count > 0) progress_(static_cast<std::size_t>(count));
    }
    return filled;
}

}  // namespace imaged
