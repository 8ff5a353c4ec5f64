// SPDX-License-Identifier: Apache-2.0
// A set of checksums in eight bytes each, for sets as large as a repository. Two checksums with the same first eight
// bytes count as one: a caller may use it where a wrong "yes" is harmless.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/checksum.hpp"

namespace imaged {

class ChecksumSet {
public:
    ChecksumSet() : table_(1024, 0) {}

    // True when CHECKSUM was not there.
    bool insert(const Checksum& checksum) {
        if ((size_ + 1) * 3 > table_.size() * 2) grow();
        auto& slot = table_[find(table_, key_of(checksum))];
        if (slot != 0) return false;
        slot = key_of(checksum);
        ++size_;
        return true;
    }
    bool contains(const Checksum& checksum) const { return table_[find(table_, key_of(checksum))] != 0; }
    std::size_t size() const { return size_; }

private:
    static std::uint64_t key_of(const Checksum& checksum) {
        std::uint64_t key;
        std::memcpy(&key, checksum.bytes.data(), sizeof key);
        return key == 0 ? 1 : key;  // 0 marks a free slot
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

    std::vector<std::uint64_t> table_;  // open addressing
    std::size_t size_ = 0;
};

}  // namespace imaged
