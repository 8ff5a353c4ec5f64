// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) of two messages at a time. Each step of one message waits for the step before it, so the CPU's
// SHA instructions do a second message in the time they would wait.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/checksum.hpp"

namespace imaged {

// One hash in progress. Not thread-safe; reusable after finish(). On a CPU without the instructions it is Sha256.
class PairedSha256 {
public:
    // Whether two messages at a time are faster here than one after the other.
    static bool pays();

    PairedSha256();
    void update(std::span<const std::byte> bytes);
    void update(std::string_view bytes) { update(std::as_bytes(std::span(bytes))); }
    // FIRST and SECOND are two objects.
    static void update_both(PairedSha256& first, std::span<const std::byte> first_bytes, PairedSha256& second,
                            std::span<const std::byte> second_bytes);
    // The checksum of everything since construction or the last finish().
    Checksum finish();

private:
    static constexpr std::size_t block_bytes = 64;

    void reset();
    // Completes a block that was begun, as far as BYTES go; returns the rest of them.
    std::span<const std::byte> complete_block(std::span<const std::byte> bytes);

    std::array<std::uint32_t, 8> state_{};
    std::array<std::byte, block_bytes> begun_{};
    std::size_t begun_bytes_ = 0;
    std::uint64_t total_bytes_ = 0;
    std::optional<Sha256> other_;  // does the work where the instructions are missing
};

}  // namespace imaged
