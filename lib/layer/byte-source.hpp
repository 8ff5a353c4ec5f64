// SPDX-License-Identifier: Apache-2.0
// A stream of bytes that is pulled: the interface of the stages that read a layer.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/cancellation.hpp"
#include "base/file-descriptor.hpp"
#include "base/rate-limit.hpp"

namespace imaged {

class ByteSource {
public:
    virtual ~ByteSource() = default;
    // Fills as much of BUFFER as there is; less than all of it only at the end, 0 after the end. BUFFER is not empty.
    virtual std::size_t read(std::span<std::byte> buffer) = 0;
    // Returns the next bytes, in BUFFER or in memory of the source, valid until the next call; empty after the end.
    virtual std::span<const std::byte> next_piece(std::span<std::byte> buffer) { return buffer.first(read(buffer)); }
    // The file whose content, from its beginning to its end, the stream has from OFFSET on; an empty descriptor if none
    // is known. A hint: not verified. Call with ascending offsets, none behind what was read; from any thread.
    virtual FileDescriptor file_at(std::uint64_t) { return {}; }
};

// A source that waits for what others send.
class StoppableSource : public ByteSource {
public:
    // Makes a read() in another thread end soon, with Error(cancelled), and those after it.
    virtual void stop() = 0;
};

// Reads a pipe or file to its end. Borrows the descriptor and the cancellation.
class DescriptorSource : public StoppableSource {
public:
    struct Options {
        std::chrono::milliseconds stall_time;
        // Told of the bytes of each read(2). Returns how many of them are left, at the beginning: what it has taken out
        // counts towards the rate and is a sign of life, but is not given to the reader.
        std::function<std::size_t(std::span<std::byte>)> taken = {};
        // More is an error.
        std::uint64_t expected_bytes = UINT64_MAX;
        // Called once, when the expected bytes have come or nothing comes for a while: some writers do not end the
        // stream before they are asked to.
        std::function<void()> complete = {};
        // A source may be slow, but not so slow that a job never ends: within four stall times of waiting, this much.
        std::uint64_t least_bytes = 16 * 1024;
        // Borrowed; null for none. Time spent waiting for it is not the source's.
        RateLimit* rate = nullptr;
    };
    DescriptorSource(int fd, const Cancellation& cancellation, Options options);
    std::size_t read(std::span<std::byte> buffer) override;
    // Within a tenth of a second, until resume().
    void stop() override { stopped_ = true; }
    void resume() { stopped_ = false; }
    std::uint64_t total() const { return total_; }

private:
    // Waits a moment if the rate wants that. Returns whether it did.
    bool kept_waiting();

    const int fd_;
    const Cancellation& cancellation_;
    const Options options_;
    bool completed_ = false;
    std::uint64_t total_ = 0;
    std::uint64_t received_ = 0;  // what was taken out included
    // Time spent waiting, and what was received, since the source was last found quick enough.
    std::chrono::steady_clock::duration slow_time_{};
    std::uint64_t slow_received_ = 0;
    RateLimit::Clock::time_point free_{};  // when the rate allows to read on
    bool ended_ = false;
    std::atomic<bool> stopped_ = false;
};

}  // namespace imaged
