// SPDX-License-Identifier: Apache-2.0
#include "chunked/assembled-tar.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "layer/object-sink.hpp"

namespace imaged {

namespace {

[[noreturn]] void refuse_tar(const char* why) {
    throw Error(ErrorKind::corrupt_input, std::string("the layer cannot be put together: ") + why);
}

}  // namespace

std::size_t AssembledTar::read(std::span<std::byte> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        const auto room = buffer.subspan(filled);
        std::size_t count = 0;
        if (literal_position_ < literal_.size()) {
            count = std::min(room.size(), literal_.size() - literal_position_);
            std::memcpy(room.data(), literal_.data() + literal_position_, count);
            literal_position_ += count;
        } else if (file_left_ > 0) {
            count = read_file(room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), file_left_))));
        } else if (!next_piece_of_tar()) {
            break;
        }
        filled += count;
        position_ += count;
    }
    return filled;
}

FileDescriptor AssembledTar::file_at(std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    while (!noted_.empty() && noted_.front().offset < offset) noted_.pop_front();
    if (noted_.empty() || noted_.front().offset != offset) return {};
    auto file = std::move(noted_.front().file);
    noted_.pop_front();
    return file;
}

// The current part of a file is one of the repository.
void AssembledTar::note_file() {
    FileDescriptor file(::fcntl(here_.get(), F_DUPFD_CLOEXEC, 0));
    if (!file) return;
    const std::lock_guard lock(mutex_);
    if (noted_.size() == most_noted) noted_.pop_front();
    noted_.push_back({position_, std::move(file)});
}

bool AssembledTar::next_piece_of_tar() {
    auto piece = split_.next();
    if (!piece) {
        if (next_file_ != plan_.size()) refuse_tar("the table has more files than the tar");
        return false;
    }
    literal_ = std::move(piece->bytes);
    literal_position_ = 0;
    file_left_ = piece->file_size;
    return true;
}

void AssembledTar::next_part_of_file() {
    if (next_file_ == plan_.size()) refuse_tar("the tar has more files than the table");
    const auto& part = plan_[next_file_++];
    if (part.ends ? part.size != file_left_ : part.size >= file_left_) refuse_tar("a file has two sizes");
    part_left_ = part.size;
    here_ = part.is_here ? open_here_(part) : FileDescriptor();
    if (here_ && part.from > 0 && ::lseek(here_.get(), static_cast<off_t>(part.from), SEEK_SET) < 0)
        throw_errno("read a file of the repository");
    if (here_ && part.from == 0 && part.ends && part.size > ObjectSink::max_small_bytes) note_file();
}

std::size_t AssembledTar::read_file(std::span<std::byte> buffer) {
    if (part_left_ == 0) next_part_of_file();
    buffer = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), part_left_)));
    std::size_t count = 0;
    if (here_) {
        const auto got = ::read(here_.get(), buffer.data(), buffer.size());
        if (got < 0 && errno != EINTR) throw_errno("read a file of the repository");
        if (got < 0) return 0;
        count = static_cast<std::size_t>(got);
    } else {
        count = fetched_.read(buffer);
    }
    if (count == 0) refuse_tar("a file ends early");
    file_left_ -= count;
    part_left_ -= count;
    return count;
}

}  // namespace imaged
