// SPDX-License-Identifier: Apache-2.0
// A stream of bytes that is pulled: what the stages of a layer's pipeline have in common.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/cancellation.hpp"

namespace imaged {

class ByteSource {
public:
    virtual ~ByteSource() = default;
    // Fills as much of BUFFER as there is; less than all of it only at the end, 0 after the end. BUFFER is not empty.
    virtual std::size_t read(std::span<std::byte> buffer) = 0;
};

// Reads a pipe or file to its end. Borrows the descriptor and the cancellation.
class DescriptorSource : public ByteSource {
public:
    // PROGRESS, if any, is told the number of bytes of each read(2).
    DescriptorSource(int fd, const Cancellation& cancellation, std::chrono::milliseconds stall_time,
                     std::function<void(std::size_t)> progress = {});
    std::size_t read(std::span<std::byte> buffer) override;
    // Makes a read() in another thread end within a tenth of a second with Error(cancelled).
    void stop() { stopped_ = true; }
    std::uint64_t total() const { return total_; }

private:
    const int fd_;
    const Cancellation& cancellation_;
    const std::chrono::milliseconds stall_time_;
    const std::function<void(std::size_t)> progress_;
    std::uint64_t total_ = 0;
    bool ended_ = false;
    std::atomic<bool> stopped_ = false;
};

}  // namespace imaged
