// SPDX-License-Identifier: Apache-2.0
// A set of checksums in eight bytes each, for sets as large as a repository.
//
// It keeps a hash of each checksum under a secret of the set's own. Two of a million checksums have the same
// one once in a million runs, and nobody can choose checksums so that they have: sums of products with secret factors
// modulo a prime, the classic universal hash (Carter and Wegman).
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/checksum.hpp"

namespace imaged {

class ChecksumSet {
public:
    ChecksumSet() : table_(1024, 0) {
        std::random_device random;
        for (auto& factor : factors_) factor = ((static_cast<std::uint64_t>(random()) << 32) | random()) % prime;
    }

    // True when CHECKSUM was not there.
    bool insert(const Checksum& checksum) {
        if ((size_ + 1) * 3 > table_.size() * 2) grow();
        const auto key = key_of(checksum);
        auto& slot = table_[find(table_, key)];
        if (slot != 0) return false;
        slot = key;
        ++size_;
        return true;
    }
    bool contains(const Checksum& checksum) const { return table_[find(table_, key_of(checksum))] != 0; }
    std::size_t size() const { return size_; }

private:
    static constexpr std::uint64_t prime = (std::uint64_t{1} << 61) - 1;

    std::uint64_t key_of(const Checksum& checksum) const {
        std::array<std::uint32_t, 8> words;
        std::memcpy(words.data(), checksum.bytes.data(), sizeof words);
        unsigned __int128 sum = 0;
        for (std::size_t i = 0; i < words.size(); ++i) sum += static_cast<unsigned __int128>(factors_[i]) * words[i];
        return static_cast<std::uint64_t>(sum % prime) + 1;  // 0 marks a free slot
    }
    static std::size_t find(const std::vector<std::uint64_t>& table, std::uint64_t key) {
        auto slot = key & (table.size() - 1);
        while (table[slot] != 0 && table[slot] != key) slot = (slot + 1) & (table.size() - 1);
        return slot;
    }
    void grow() {
        std::vector<std::uint64_t> larger(table_.size() * 2, 0);
        for (const auto key : table_) {
            if (key != 0) larger[find(larger, key)] = key;
        }
        table_ = std::move(larger);
    }

    std::array<std::uint64_t, 8> factors_;
    std::vector<std::uint64_t> table_;  // open addressing
    std::size_t size_ = 0;
};

}  // namespace imaged
