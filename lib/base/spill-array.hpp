// SPDX-License-Identifier: Apache-2.0
// An array that only grows, with bounded memory: beyond the first megabytes it is in an unlinked temporary file that
// is mapped, and its memory is released as it is read.
//
// Elements never move, so references stay valid. Belongs to one thread. A moved-from array may only be destroyed. If no
// temporary file can be made, everything stays in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/file-descriptor.hpp"

namespace imaged {

class SpillMapping {
public:
    // Takes address space for MAX_BYTES, and nothing else yet. Throws Error(failed).
    explicit SpillMapping(std::size_t max_bytes);
    ~SpillMapping();
    SpillMapping(SpillMapping&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          max_bytes_(other.max_bytes_),
          size_(std::exchange(other.size_, 0)),
          room_(std::exchange(other.room_, 0)),
          file_(std::move(other.file_)),
          no_file_(other.no_file_),
          touched_(std::move(other.touched_)),
          touched_count_(other.touched_count_) {}
    SpillMapping& operator=(SpillMapping&&) = delete;

    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    // Makes room for BYTES more at the end, which the caller knows to fit in MAX_BYTES; gives where they begin. Throws
    // Error(no_space) when the temporary file cannot grow.
    std::byte* extend(std::size_t bytes) {
        if (size_ + bytes > room_) make_room(size_ + bytes);
        auto* const end = data_ + size_;
        touch(size_, bytes);
        size_ += bytes;
        return end;
    }
    // To be called before BYTES at OFFSET are looked at. May give back the memory of all that lies in the file: it is
    // at the same place when it is looked at again.
    void touch(std::size_t offset, std::size_t bytes) const {
        if (touched_.empty()) return;
        for (auto window = offset / window_bytes; window <= (offset + bytes) / window_bytes; ++window) {
            if ((touched_[window / 64] >> window % 64 & 1) == 0) look_at(window);
        }
    }

private:
    // The kernel maps so much around the address of a page fault.
    static constexpr std::size_t window_bytes = 64 * 1024;

    void make_room(std::size_t wanted);
    void look_at(std::size_t window) const;

    std::byte* data_;
    const std::size_t max_bytes_;
    std::size_t size_ = 0, room_ = 0;
    FileDescriptor file_;
    bool no_file_ = false;
    mutable std::vector<std::uint64_t> touched_;  // a bit for each window; empty while nothing is in a file
    mutable std::size_t touched_count_ = 0;
};

template <typename T>
class SpillArray {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    explicit SpillArray(std::size_t max_elements) : mapping_(max_elements * sizeof(T)) {}

    void push_back(const T& element) { std::memcpy(mapping_.extend(sizeof(T)), &element, sizeof(T)); }
    void append(const T* elements, std::size_t count) {
        if (count > 0) std::memcpy(mapping_.extend(count * sizeof(T)), elements, count * sizeof(T));
    }
    T& operator[](std::size_t index) { return *at(index, 1); }
    const T& operator[](std::size_t index) const { return *at(index, 1); }
    // COUNT elements from INDEX on.
    const T* slice(std::size_t index, std::size_t count) const { return at(index, count); }
    std::size_t size() const { return mapping_.size() / sizeof(T); }

private:
    T* at(std::size_t index, std::size_t count) const {
        mapping_.touch(index * sizeof(T), count * sizeof(T));
        return reinterpret_cast<T*>(mapping_.data()) + index;
    }

    SpillMapping mapping_;
};

}  // namespace imaged
