// SPDX-License-Identifier: Apache-2.0
// The compression function of SHA-256 (FIPS 180-4, 6.2.2) in the CPU's SHA instructions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace imaged {

// Whether this CPU has them. Without them the functions below must not be called.
bool have_sha_instructions();

using Sha256State = std::array<std::uint32_t, 8>;

// Adds COUNT blocks of 64 bytes each to STATE.
void sha256_blocks(Sha256State& state, const std::byte* blocks, std::size_t count);
// Adds COUNT blocks of two messages to the states of both.
void sha256_blocks(Sha256State& first, const std::byte* first_blocks, Sha256State& second,
                   const std::byte* second_blocks, std::size_t count);

}  // namespace imaged
