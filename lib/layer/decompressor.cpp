// SPDX-License-Identifier: Apache-2.0
#include "layer/decompressor.hpp"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "layer/foreign-compressions.hpp"
#include "layer/gzip.hpp"
#include "oci/compression.hpp"

namespace imaged {

namespace {

class PlainSource : public ByteSource {
public:
    explicit PlainSource(std::unique_ptr<CompressedInput> input) : input_(std::move(input)) {}

    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t filled = 0;
        while (filled < buffer.size()) {
            const auto in = input_->available();
            if (in.empty()) break;
            const auto count = std::min(in.size(), buffer.size() - filled);
            std::memcpy(buffer.data() + filled, in.data(), count);
            input_->consume(count);
            filled += count;
        }
        return filled;
    }

private:
    std::unique_ptr<CompressedInput> input_;
};

class ZstdSource : public ByteSource {
public:
    explicit ZstdSource(std::unique_ptr<CompressedInput> input)
        : input_(std::move(input)), stream_(ZSTD_createDStream()) {
        if (!stream_) throw Error(ErrorKind::failed, "zstd cannot start");
        ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, max_zstd_window_log);
    }

    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t filled = 0;
        while (filled < buffer.size()) {
            const auto bytes = input_->available();
            ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
            ZSTD_outBuffer out{buffer.data() + filled, buffer.size() - filled, 0};
            // At the end of the input a frame may still have output to give; between frames there is nothing left.
            if (bytes.empty() && between_frames_) break;
            const auto status = ZSTD_decompressStream(stream_.get(), &out, &in);
            input_->consume(in.pos);
            filled += out.pos;
            if (ZSTD_isError(status) != 0) refuse(status);
            between_frames_ = status == 0;
            if (bytes.empty() && out.pos == 0 && !between_frames_)
                throw Error(ErrorKind::corrupt_input, "the zstd stream is cut off" + input_->position());
        }
        return filled;
    }

private:
    [[noreturn]] void refuse(std::size_t status) const {
        const std::string name = ZSTD_getErrorName(status);
        if (ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge)
            throw Error(ErrorKind::unsupported_image, "the zstd stream needs a window of more than " +
                                                          std::to_string((1 << max_zstd_window_log) / 1024 / 1024) +
                                                          " MiB" + input_->position());
        throw Error(ErrorKind::corrupt_input, "the zstd stream is corrupt (" + name + ")" + input_->position());
    }

    struct Free {
        void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
    };
    std::unique_ptr<CompressedInput> input_;
    std::unique_ptr<ZSTD_DStream, Free> stream_;
    bool between_frames_ = true;
};

}  // namespace

std::unique_ptr<ByteSource> decompress(ByteSource& upstream) {
    auto input = std::make_unique<CompressedInput>(upstream);
    const auto head = input->peek(max_magic_bytes);
    switch (compression_of({reinterpret_cast<const char*>(head.data()), head.size()})) {
        case CompressionFormat::gzip:
#ifdef IMAGED_HAVE_ISAL
            return isal_gzip(std::move(input));
#else
            return zlib_gzip(std::move(input));
#endif
        case CompressionFormat::zstd: return std::make_unique<ZstdSource>(std::move(input));
        case CompressionFormat::xz: return xz_source(std::move(input));
        case CompressionFormat::bzip2: return bzip2_source(std::move(input));
        case CompressionFormat::none: break;
    }
    return std::make_unique<PlainSource>(std::move(input));
}

}  // namespace imaged
