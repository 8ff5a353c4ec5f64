// SPDX-License-Identifier: Apache-2.0
// What the fuzzers share: how an input is fed in, and what may come out of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "base/error.hpp"
#include "layer/byte-source.hpp"

namespace imaged::fuzz {

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

// Runs FUNCTION: an Error is how bad input ends; anything else that is thrown ends the fuzzer, as a crash does.
template <typename Function>
bool accepted(Function&& function) {
    try {
        function();
        return true;
    } catch (const Error&) {
        return false;
    }
}

inline void require(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "this does not hold: %s\n", what);
    std::abort();
}

class MemorySource : public ByteSource {
public:
    MemorySource(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const std::byte*>(data), size) {}
    std::size_t read(std::span<std::byte> buffer) override {
        const auto count = std::min(buffer.size(), rest_.size());
        std::copy_n(rest_.begin(), count, buffer.begin());
        rest_ = rest_.subspan(count);
        return count;
    }

private:
    std::span<const std::byte> rest_;
};

}  // namespace imaged::fuzz
