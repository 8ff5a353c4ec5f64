// SPDX-License-Identifier: Apache-2.0
#include "base/sha256-blocks.hpp"

#include "base/error.hpp"

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>

#define WITH_SHA __attribute__((target("sha,sse4.1")))

namespace imaged {

namespace {

// FIPS 180-4, 4.2.2
alignas(16) constexpr std::uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// The state as the instructions want it: the words a, b, e, f and c, d, g, h, from the highest to the lowest.
struct Words {
    __m128i abef, cdgh;
};

WITH_SHA inline Words load(const Sha256State& state) {
    const auto* words = reinterpret_cast<const __m128i*>(state.data());
    const auto badc = _mm_shuffle_epi32(_mm_loadu_si128(words), 0b10'11'00'01);
    const auto efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0b00'01'10'11);
    return {_mm_alignr_epi8(badc, efgh, 8), _mm_blend_epi16(efgh, badc, 0b1111'0000)};
}

WITH_SHA inline void store(const Words& from, Sha256State& state) {
    auto* words = reinterpret_cast<__m128i*>(state.data());
    const auto feba = _mm_shuffle_epi32(from.abef, 0b00'01'10'11);
    const auto dchg = _mm_shuffle_epi32(from.cdgh, 0b10'11'00'01);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0b1111'0000));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

template <std::size_t messages>
WITH_SHA void compress(Sha256State* const (&states)[messages], const std::byte* const (&blocks)[messages],
                       std::size_t count) {
    const auto big_endian = _mm_set_epi64x(0x0c0d0e0f'08090a0b, 0x04050607'00010203);
    Words words[messages];
    for (std::size_t i = 0; i < messages; ++i) words[i] = load(*states[i]);
    for (std::size_t block = 0; block < count; ++block) {
        Words before[messages];
        __m128i schedule[messages][4];  // its last sixteen words
        for (std::size_t i = 0; i < messages; ++i) {
            before[i] = words[i];
            const auto* data = reinterpret_cast<const __m128i*>(blocks[i] + 64 * block);
            for (std::size_t j = 0; j < 4; ++j)
                schedule[i][j] = _mm_shuffle_epi8(_mm_loadu_si128(data + j), big_endian);
        }
        // Four rounds each time; unrolled, all of the above stays in registers.
#pragma GCC unroll 16
        for (std::size_t step = 0; step < 16; ++step) {
#pragma GCC unroll 2
            for (std::size_t i = 0; i < messages; ++i) {
                auto& next = schedule[i][step % 4];
                if (step >= 4) {
                    const auto& second = schedule[i][(step + 1) % 4];
                    const auto& third = schedule[i][(step + 2) % 4];
                    const auto& last = schedule[i][(step + 3) % 4];
                    next = _mm_sha256msg2_epu32(
                        _mm_add_epi32(_mm_sha256msg1_epu32(next, second), _mm_alignr_epi8(last, third, 4)), last);
                }
                const auto sum =
                    _mm_add_epi32(next, _mm_load_si128(reinterpret_cast<const __m128i*>(constants + 4 * step)));
                words[i].cdgh = _mm_sha256rnds2_epu32(words[i].cdgh, words[i].abef, sum);
                words[i].abef =
                    _mm_sha256rnds2_epu32(words[i].abef, words[i].cdgh, _mm_shuffle_epi32(sum, 0b00'00'11'10));
            }
        }
        for (std::size_t i = 0; i < messages; ++i) {
            words[i].abef = _mm_add_epi32(words[i].abef, before[i].abef);
            words[i].cdgh = _mm_add_epi32(words[i].cdgh, before[i].cdgh);
        }
    }
    for (std::size_t i = 0; i < messages; ++i) store(words[i], *states[i]);
}

}  // namespace

bool have_sha_instructions() {
    static const bool have = [] {
        unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
        if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_SSE4_1) == 0) return false;
        return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
    }();
    return have;
}

void sha256_blocks(Sha256State& state, const std::byte* blocks, std::size_t count) {
    compress<1>({&state}, {blocks}, count);
}

void sha256_blocks(Sha256State& first, const std::byte* first_blocks, Sha256State& second,
                   const std::byte* second_blocks, std::size_t count) {
    compress<2>({&first, &second}, {first_blocks, second_blocks}, count);
}

}  // namespace imaged

#else

namespace imaged {

bool have_sha_instructions() {
    return false;
}

void sha256_blocks(Sha256State&, const std::byte*, std::size_t) {
    throw Error(ErrorKind::failed, "this CPU has no SHA instructions");
}

void sha256_blocks(Sha256State&, const std::byte*, Sha256State&, const std::byte*, std::size_t) {
    throw Error(ErrorKind::failed, "this CPU has no SHA instructions");
}

}  // namespace imaged

#endif
