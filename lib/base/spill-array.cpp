// SPDX-License-Identifier: Apache-2.0
#include "base/spill-array.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <span>

#include "base/error.hpp"

namespace imaged {

namespace {

// In memory before there is a file, and of the file. Most layers stay below.
constexpr std::size_t resident_bytes = 4 * 1024 * 1024;
constexpr std::size_t step_bytes = 1024 * 1024;

FileDescriptor temporary_file() {
    const char* directory = std::getenv("TMPDIR");
    // Not /tmp, which may be memory itself.
    if (directory == nullptr || *directory == '\0') directory = "/var/tmp";
    return FileDescriptor(::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

}  // namespace

SpillMapping::SpillMapping(std::size_t max_bytes) : max_bytes_(max_bytes) {
    void* const address =
        ::mmap(nullptr, max_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) throw_errno("reserve address space");
    // A huge page for a handful of entries is no bargain.
    ::madvise(address, max_bytes, MADV_NOHUGEPAGE);
    data_ = static_cast<std::byte*>(address);
    room_ = std::min(resident_bytes, max_bytes);
}

SpillMapping::~SpillMapping() {
    if (data_ != nullptr) ::munmap(data_, max_bytes_);
}

void SpillMapping::make_room(std::size_t wanted) {
    if (!file_ && !no_file_) {
        file_ = temporary_file();
        no_file_ = !file_;
        if (file_) {
            write_all(file_.get(), std::span(data_, size_), "a temporary file");
            if (::mmap(data_, max_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file_.get(), 0) == MAP_FAILED)
                throw_errno("map a temporary file");
            touched_.resize(max_bytes_ / window_bytes / 64 + 2);
        }
    }
    if (no_file_) {
        room_ = max_bytes_;
        return;
    }
    // Asked for in advance: a full disk is an error here, and would be a fatal signal at the access.
    const auto room = std::min(max_bytes_, std::max(wanted, room_ + step_bytes));
    const int failure = ::posix_fallocate(file_.get(), 0, static_cast<off_t>(room));
    if (failure != 0) throw system_error(failure, "enlarge a temporary file");
    room_ = room;
}

void SpillMapping::look_at(std::size_t window) const {
    if (touched_count_ == resident_bytes / window_bytes) {
        ::madvise(data_, room_, MADV_DONTNEED);
        std::fill(touched_.begin(), touched_.end(), 0);
        touched_count_ = 0;
    }
    touched_[window / 64] |= std::uint64_t{1} << window % 64;
    ++touched_count_;
}

}  // namespace imaged
