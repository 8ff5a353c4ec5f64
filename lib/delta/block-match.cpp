// SPDX-License-Identifier: Apache-2.0
#include "delta/block-match.hpp"

#include <algorithm>
#include <bit>

#include "base/file-descriptor.hpp"
#include "delta/format.hpp"

namespace imaged::delta {

namespace {

constexpr std::size_t least_block_bytes = 32;
// Of one file: tables of 16 MiB at most.
constexpr std::uint64_t max_blocks = 1024 * 1024;
// Places that are looked at for one hash. Blocks beyond are not found.
constexpr unsigned max_probes = 8;
constexpr std::uint64_t multiplier = 0x9e3779b97f4a7c15;
constexpr std::size_t older_piece_bytes = 64 * 1024;
// Both files are compared in steps of this, at least half of which must be equal.
constexpr std::size_t step_bytes = 64;
// Shorter equal runs among differences are left to the compressor: zeros cost less than an operation.
constexpr std::size_t least_copy_bytes = 256;
constexpr std::uint64_t check_interval = 64 * 1024;

std::size_t block_size(std::uint64_t size) {
    std::size_t bytes = least_block_bytes;
    while (size / bytes > max_blocks) bytes *= 2;
    return bytes;
}

std::size_t slots_for(std::uint64_t size) {
    return std::bit_ceil(static_cast<std::size_t>(size / block_size(size)) * 2 + 2);
}

std::uint64_t block_hash(std::span<const std::byte> block) {
    std::uint64_t hash = 0;
    for (const auto byte : block) hash = hash * multiplier + static_cast<std::uint8_t>(byte) + 1;
    return hash;
}

// Spreads the bits: the low ones of a product depend on the low ones of its factors alone.
std::uint64_t mixed(std::uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93;
    return hash ^ hash >> 32;
}

// Fills as much of BUFFER as FILE has at OFFSET.
std::span<const std::byte> read_some(int file, std::uint64_t offset, std::span<std::byte> buffer) {
    return buffer.first(read_at(file, offset, buffer, "a file of the source image"));
}

}  // namespace

BlockIndex::BlockIndex(int file, std::uint64_t size, const Cancellation& cancellation)
    : file_(file), size_(size), block_bytes_(block_size(size)), slots_(slots_for(size)) {
    std::vector<std::byte> buffer(std::max(older_piece_bytes, block_bytes_));
    std::uint32_t block = 0;
    for (std::uint64_t offset = 0; offset + block_bytes_ <= size;) {
        cancellation.check();
        const auto piece = read_some(file, offset, buffer);
        if (piece.size() < block_bytes_) break;
        for (std::size_t at = 0; at + block_bytes_ <= piece.size(); at += block_bytes_)
            add(block_hash(piece.subspan(at, block_bytes_)), ++block);
        offset = static_cast<std::uint64_t>(block) * block_bytes_;
    }
}

std::uint64_t BlockIndex::memory_for(std::uint64_t size) {
    return slots_for(size) * sizeof(Slot) + 2 * older_piece_bytes;
}

void BlockIndex::add(std::uint64_t hash, std::uint32_t block) {
    const auto place = mixed(hash);
    const auto tag = static_cast<std::uint32_t>(place >> 32);
    for (unsigned probe = 0; probe < max_probes; ++probe) {
        auto& slot = slots_[(place + probe) & (slots_.size() - 1)];
        if (slot.block != 0 && slot.tag == tag) return;  // the first of equal ones
        if (slot.block != 0) continue;
        slot = {tag, block};
        return;
    }
}

std::uint32_t BlockIndex::find(std::uint64_t hash) const {
    const auto place = mixed(hash);
    const auto tag = static_cast<std::uint32_t>(place >> 32);
    for (unsigned probe = 0; probe < max_probes; ++probe) {
        const auto& slot = slots_[(place + probe) & (slots_.size() - 1)];
        if (slot.block == 0) return 0;
        if (slot.tag == tag) return slot.block;
    }
    return 0;
}

class BlockIndex::Search {
public:
    Search(const BlockIndex& index, std::span<const std::byte> content)
        : index_(index), content_(content), buffer_(older_piece_bytes) {}

    std::vector<Match> run(const Cancellation& cancellation) {
        const auto size = index_.block_bytes_;
        std::uint64_t out = 1;  // what the byte that leaves the block counts
        for (std::size_t i = 0; i + 1 < size; ++i) out *= multiplier;
        std::uint64_t looked_at = 0;
        for (std::size_t at = 0; at + size <= content_.size();) {
            auto hash = block_hash(content_.subspan(at, size));
            for (;;) {
                if (++looked_at % check_interval == 0) cancellation.check();
                const auto block = index_.find(hash);
                if (block != 0 && take(at, (block - 1ULL) * size)) break;
                if (at + size == content_.size()) {
                    at = content_.size();
                    break;
                }
                hash -= (static_cast<std::uint8_t>(content_[at]) + 1ULL) * out;
                hash = hash * multiplier + static_cast<std::uint8_t>(content_[at + size]) + 1;
                ++at;
            }
        }
        add_new(content_.size());
        return std::move(matches_);
    }

private:
    // The bytes up to END that nothing was found for.
    void add_new(std::size_t end) {
        if (end > done_) matches_.push_back({true, 0, end - done_});
        done_ = end;
    }

    // Whether the block at AT is at OFFSET of the older file. If so, takes it and what is alike before and behind, and
    // sets AT to where the search goes on.
    bool take(std::size_t& at, std::uint64_t offset) {
        const auto block = read_some(index_.file_, offset, std::span(buffer_).first(index_.block_bytes_));
        if (!std::equal(block.begin(), block.end(), content_.begin() + static_cast<std::ptrdiff_t>(at)) ||
            block.size() < index_.block_bytes_)
            return false;
        auto begin = at;
        while (begin > done_ && offset > 0) {
            const auto count = std::min<std::uint64_t>({begin - done_, offset, buffer_.size()});
            const auto before = read_some(index_.file_, offset - count, std::span(buffer_).first(count));
            std::size_t equal = 0;
            while (equal < before.size() && before[before.size() - 1 - equal] == content_[begin - 1 - equal]) ++equal;
            begin -= equal;
            offset -= equal;
            if (equal < before.size() || before.size() < count) break;
        }
        add_new(begin);
        extend(offset);
        at = done_;
        return true;
    }

    // Takes what is alike from done_ on, and at OFFSET of the older file.
    void extend(std::uint64_t offset) {
        for (;;) {
            const auto older = read_some(index_.file_, offset, buffer_);
            const auto newer = content_.subspan(done_, std::min(older.size(), content_.size() - done_));
            std::size_t alike = 0;
            while (alike < newer.size()) {
                const auto step = std::min(step_bytes, newer.size() - alike);
                std::size_t equal = 0, last = 0;
                for (std::size_t i = 0; i < step; ++i) {
                    if (newer[alike + i] != older[alike + i]) continue;
                    ++equal;
                    last = i + 1;
                }
                if (equal * 2 < step) break;
                alike += step < step_bytes ? last : step;
                if (step < step_bytes) break;
            }
            add_alike(newer.first(alike), older.first(alike), offset);
            offset += alike;
            // Otherwise both go on.
            if (alike < newer.size() || newer.size() < older.size() || older.size() < buffer_.size()) return;
        }
    }

    void add_alike(std::span<const std::byte> newer, std::span<const std::byte> older, std::uint64_t offset) {
        std::size_t from = 0;  // of bytes that have differences
        const auto add_differences = [&](std::size_t end) {
            for (; from < end;) {
                Match match{false, offset + from, std::min<std::uint64_t>(end - from, max_added_bytes)};
                match.differences.resize(match.size);
                for (std::size_t i = 0; i < match.size; ++i)
                    match.differences[i] = static_cast<std::byte>(static_cast<std::uint8_t>(newer[from + i]) -
                                                                  static_cast<std::uint8_t>(older[from + i]));
                from += match.size;
                matches_.push_back(std::move(match));
            }
        };
        for (std::size_t i = 0; i < newer.size();) {
            auto end = i;
            while (end < newer.size() && newer[end] == older[end]) ++end;
            // A run that ends with the piece may be the beginning of a longer one, one that begins with it the end.
            if (end - i >= least_copy_bytes || (end > i && (i == 0 || end == newer.size()))) {
                add_differences(i);
                matches_.push_back({false, offset + i, end - i});
                from = end;
            }
            i = std::max(end, i + 1);
        }
        add_differences(newer.size());
        done_ += newer.size();
    }

    const BlockIndex& index_;
    const std::span<const std::byte> content_;
    std::vector<std::byte> buffer_;
    std::vector<Match> matches_;
    std::size_t done_ = 0;
};

std::vector<Match> BlockIndex::match(std::span<const std::byte> content, const Cancellation& cancellation) const {
    return Search(*this, content).run(cancellation);
}

}  // namespace imaged::delta
