// SPDX-License-Identifier: Apache-2.0
// Writes zstd frames. The same bytes give the same frames in one build.
#pragma once

#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "layer/byte-sink.hpp"

namespace imaged {

// The level for layers: the best trade-off between speed and size (measured).
inline constexpr int zstd_layer_level = 3;

struct FreeZstd {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
using ZstdContext = std::unique_ptr<ZSTD_CCtx, FreeZstd>;

ZstdContext make_zstd_context();
// Returns RESULT, which a function of zstd returned; throws Error(failed) if it is an error.
std::size_t check_zstd(std::size_t result);

// Frames, one after the other. Belongs to one thread.
class ZstdWriter : public ByteSink {
public:
    // Borrows SINK, which nothing is written to yet.
    ZstdWriter(ByteSink& sink, std::initializer_list<std::pair<ZSTD_cParameter, int>> parameters);

    // The size of the next frame's content; to be called before it, if it is known.
    void announce(std::uint64_t bytes) { check_zstd(ZSTD_CCtx_setPledgedSrcSize(context_.get(), bytes)); }
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override;
    // Ends the frame, if one has begun.
    void end() {
        if (open_) finish();
    }
    // Ends the frame, which is empty if none has begun.
    void finish();

private:
    void run(std::span<const std::byte> bytes, ZSTD_EndDirective directive);

    ByteSink& sink_;
    ZstdContext context_;
    std::vector<std::byte> output_;
    bool open_ = false;
};

}  // namespace imaged
