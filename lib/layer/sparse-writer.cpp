// SPDX-License-Identifier: Apache-2.0
#include "layer/sparse-writer.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

// As much as is looked at in one step: a block of most file systems.
constexpr std::size_t chunk_bytes = 4096;
// Shorter runs are written: each hole makes one more extent of the file.
constexpr std::uint64_t min_hole_bytes = 64 * 1024;
// Of a run that begins and ends within blocks of the file system.
constexpr std::uint64_t partial_blocks_bytes = 2 * chunk_bytes;

constexpr std::array<std::byte, min_hole_bytes> zero_bytes{};

bool is_zero(std::span<const std::byte> bytes) {
    return bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

std::uint64_t SparseWriter::append(std::span<const std::byte> piece) {
    std::uint64_t hole = 0;
    std::size_t data = 0;  // bytes of PIECE from its beginning that are to be written
    const auto write_data = [&] {
        if (data == 0) return;
        end_run();
        write(piece.first(data));
        size_ += data;
        piece = piece.subspan(data);
        data = 0;
    };
    while (data < piece.size()) {
        const auto chunk = piece.subspan(data, std::min(chunk_bytes, piece.size() - data));
        if (!is_zero(chunk)) {
            data += chunk.size();
            continue;
        }
        write_data();
        hole += add_zeros(chunk.size());
        piece = piece.subspan(chunk.size());
    }
    write_data();
    return hole;
}

std::uint64_t SparseWriter::add_zeros(std::size_t count) {
    zeros_ += count;
    size_ += count;
    if (zeros_ < min_hole_bytes) return 0;
    const auto before = hole_;
    hole_ = zeros_ - partial_blocks_bytes;
    return hole_ - before;
}

void SparseWriter::write(std::span<const std::byte> bytes) {
    if (file_) write_all(*file_, bytes, "an object");
}

void SparseWriter::end_run() {
    if (zeros_ >= min_hole_bytes) {
        if (file_ && ::lseek(*file_, static_cast<off_t>(zeros_), SEEK_CUR) < 0)
            throw_errno("leave a hole in an object");
    } else if (zeros_ > 0) {
        write(std::span(zero_bytes).first(static_cast<std::size_t>(zeros_)));
    }
    zeros_ = hole_ = 0;
}

void SparseWriter::finish() {
    if (zeros_ == 0) return;
    end_run();
    if (file_ && ::ftruncate(*file_, static_cast<off_t>(size_)) != 0) throw_errno("set the size of an object");
}

}  // namespace imaged
