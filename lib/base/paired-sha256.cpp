// SPDX-License-Identifier: Apache-2.0
#include "base/paired-sha256.hpp"

#include <algorithm>

#include "base/sha256-blocks.hpp"

namespace imaged {

namespace {

constexpr Sha256State initial_state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

template <typename Bytes>
void write_big_endian(std::uint64_t value, std::size_t size, Bytes* bytes) {
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<Bytes>(value >> (8 * (size - 1 - i)));
}

}  // namespace

bool PairedSha256::pays() {
    return have_sha_instructions();
}

PairedSha256::PairedSha256() {
    if (!have_sha_instructions()) other_.emplace();
    reset();
}

void PairedSha256::reset() {
    state_ = initial_state;
    begun_bytes_ = 0;
    total_bytes_ = 0;
}

std::span<const std::byte> PairedSha256::complete_block(std::span<const std::byte> bytes) {
    if (begun_bytes_ == 0) return bytes;
    const auto count = std::min(bytes.size(), block_bytes - begun_bytes_);
    std::copy_n(bytes.begin(), count, begun_.begin() + static_cast<std::ptrdiff_t>(begun_bytes_));
    begun_bytes_ += count;
    total_bytes_ += count;
    if (begun_bytes_ == block_bytes) {
        sha256_blocks(state_, begun_.data(), 1);
        begun_bytes_ = 0;
    }
    return bytes.subspan(count);
}

void PairedSha256::update(std::span<const std::byte> bytes) {
    if (other_) return other_->update(bytes);
    bytes = complete_block(bytes);
    const auto blocks = bytes.size() / block_bytes;
    if (blocks > 0) sha256_blocks(state_, bytes.data(), blocks);
    total_bytes_ += blocks * block_bytes;
    bytes = bytes.subspan(blocks * block_bytes);
    if (bytes.empty()) return;
    std::copy(bytes.begin(), bytes.end(), begun_.begin());
    begun_bytes_ = bytes.size();
    total_bytes_ += bytes.size();
}

void PairedSha256::update_both(PairedSha256& first, std::span<const std::byte> first_bytes, PairedSha256& second,
                               std::span<const std::byte> second_bytes) {
    if (!first.other_) {
        first_bytes = first.complete_block(first_bytes);
        second_bytes = second.complete_block(second_bytes);
        const auto blocks = std::min(first_bytes.size(), second_bytes.size()) / block_bytes;
        const auto bytes = blocks * block_bytes;
        if (blocks > 0) sha256_blocks(first.state_, first_bytes.data(), second.state_, second_bytes.data(), blocks);
        first.total_bytes_ += bytes;
        second.total_bytes_ += bytes;
        first_bytes = first_bytes.subspan(bytes);
        second_bytes = second_bytes.subspan(bytes);
    }
    first.update(first_bytes);
    second.update(second_bytes);
}

Checksum PairedSha256::finish() {
    if (other_) return other_->finish();
    // FIPS 180-4, 5.1.1: a one, zeros, and the length in bits at the end of a block.
    constexpr std::size_t length_bytes = 8;
    const auto bits = total_bytes_ * 8;
    std::array<std::byte, 2 * block_bytes> end{};
    end[0] = std::byte{0x80};
    const auto room = block_bytes - begun_bytes_;
    const auto size = room > length_bytes ? room : room + block_bytes;
    write_big_endian(bits, length_bytes, end.data() + size - length_bytes);
    update(std::span(end).first(size));
    Checksum checksum;
    for (std::size_t i = 0; i < state_.size(); ++i) write_big_endian(state_[i], 4, checksum.bytes.data() + 4 * i);
    reset();
    return checksum;
}

}  // namespace imaged
