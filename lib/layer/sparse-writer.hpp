// SPDX-License-Identifier: Apache-2.0
// Writes a file from its beginning to its end and leaves holes for long runs of zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace imaged {

class SparseWriter {
public:
    // FILE is borrowed, empty, and at its beginning; without one, bytes are counted and not written.
    explicit SparseWriter(std::optional<int> file) : file_(file) {}

    // Returns how many bytes take no room, as far as is known by now. Throws system_error().
    std::uint64_t append(std::span<const std::byte> piece);
    // Gives the file its size. Call it once, at the end.
    void finish();
    std::uint64_t size() const { return size_; }

private:
    std::uint64_t add_zeros(std::size_t count);
    void write(std::span<const std::byte> bytes);
    void end_run();

    const std::optional<int> file_;
    std::uint64_t size_ = 0;
    std::uint64_t zeros_ = 0;  // at the end, not written yet
    std::uint64_t hole_ = 0;   // what append() has returned of them
};

}  // namespace imaged
