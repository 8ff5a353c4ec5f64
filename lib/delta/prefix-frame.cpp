// SPDX-License-Identifier: Apache-2.0
#include "delta/prefix-frame.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace imaged::delta {

namespace {

// Measured: level 19 takes seven times as long, for frames that are a tenth smaller.
constexpr int frame_level = 12;
constexpr int estimate_level = 3;
// Tables of 16 and 32 MiB. What they cannot hold of a large prefix, matching over long distances finds.
constexpr unsigned max_hash_log = 22, max_chain_log = 23;
constexpr std::uint64_t long_prefix_bytes = 4ULL * 1024 * 1024;

// Sizes of tables, as powers of two.
struct FrameTables {
    unsigned window, hash, chain;
};

FrameTables frame_tables(std::uint64_t prefix_bytes, std::uint64_t content_bytes) {
    const auto reach = std::clamp(static_cast<unsigned>(std::bit_width(prefix_bytes + content_bytes)), 10U, 27U);
    return {reach, std::min(reach, max_hash_log), std::min(reach + 1, max_chain_log)};
}

}  // namespace

void PrefixFrames::release() {
    if (ZstdContext fresh(ZSTD_createCCtx()); fresh) context_ = std::move(fresh);
}

std::uint64_t PrefixFrames::memory_for(std::uint64_t prefix_bytes, std::uint64_t content_bytes) {
    const auto wanted = frame_tables(prefix_bytes, content_bytes);
    constexpr std::uint64_t other = 4ULL * 1024 * 1024;  // of the search and of long distances
    return (4ULL << wanted.hash) + (4ULL << wanted.chain) + (prefix_bytes > long_prefix_bytes ? 2 * other : other) +
           content_bytes;
}

std::size_t PrefixFrames::size_alone(std::span<const std::byte> content) {
    check_zstd(ZSTD_CCtx_reset(context_.get(), ZSTD_reset_session_and_parameters));
    check_zstd(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, estimate_level));
    std::vector<std::byte> out(ZSTD_compressBound(content.size()));
    return check_zstd(ZSTD_compress2(context_.get(), out.data(), out.size(), content.data(), content.size()));
}

std::vector<std::byte> PrefixFrames::compress(std::span<const std::byte> prefix, std::span<const std::byte> content) {
    check_zstd(ZSTD_CCtx_reset(context_.get(), ZSTD_reset_session_and_parameters));
    const auto wanted = frame_tables(prefix.size(), content.size());
    const auto set = [&](ZSTD_cParameter parameter, unsigned value) {
        check_zstd(ZSTD_CCtx_setParameter(context_.get(), parameter, static_cast<int>(value)));
    };
    set(ZSTD_c_compressionLevel, frame_level);
    set(ZSTD_c_windowLog, wanted.window);
    set(ZSTD_c_hashLog, wanted.hash);
    set(ZSTD_c_chainLog, wanted.chain);
    if (prefix.size() > long_prefix_bytes) set(ZSTD_c_enableLongDistanceMatching, 1);
    check_zstd(ZSTD_CCtx_refPrefix(context_.get(), prefix.data(), prefix.size()));
    std::vector<std::byte> frame(ZSTD_compressBound(content.size()));
    frame.resize(
        check_zstd(ZSTD_compress2(context_.get(), frame.data(), frame.size(), content.data(), content.size())));
    frame.shrink_to_fit();
    return frame;
}

}  // namespace imaged::delta
