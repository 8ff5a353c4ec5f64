// SPDX-License-Identifier: Apache-2.0
// An array that only grows, and whose size is not the process's: what goes beyond a first few megabytes lies in an
// unlinked temporary file that is mapped, and the kernel takes its pages back as it likes.
//
// Elements never move, so references stay valid. Belongs to one thread; what was moved from is only to be
// destroyed. Where no temporary file can be made, everything
// stays in memory.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

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
          no_file_(other.no_file_) {}
    SpillMapping(const SpillMapping&) = delete;
    SpillMapping& operator=(const SpillMapping&) = delete;

    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    // Makes room for BYTES more at the end, which the caller knows to fit in MAX_BYTES; gives where they begin. Throws
    // Error(no_space) when the temporary file cannot grow.
    std::byte* extend(std::size_t bytes) {
        if (size_ + bytes > room_) make_room(size_ + bytes);
        auto* const end = data_ + size_;
        size_ += bytes;
        return end;
    }
    // Gives back the memory of what lies in the file; it is read in again where it is looked at.
    void release();

private:
    void make_room(std::size_t wanted);

    std::byte* data_;
    const std::size_t max_bytes_;
    std::size_t size_ = 0, room_ = 0;
    FileDescriptor file_;
    bool no_file_ = false;
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
    T& operator[](std::size_t index) { return data()[index]; }
    const T& operator[](std::size_t index) const { return data()[index]; }
    T* data() { return reinterpret_cast<T*>(mapping_.data()); }
    const T* data() const { return reinterpret_cast<const T*>(mapping_.data()); }
    std::size_t size() const { return mapping_.size() / sizeof(T); }
    void release() { mapping_.release(); }

private:
    SpillMapping mapping_;
};

}  // namespace imaged
