// SPDX-License-Identifier: Apache-2.0
#include "layer/foreign-compressions.hpp"

#include <bzlib.h>
#include <lzma.h>

#include <algorithm>
#include <string_view>

#include "base/error.hpp"

namespace imaged {

namespace {

[[noreturn]] void corrupt(const std::string& what, const CompressedInput& input) {
    throw Error(ErrorKind::corrupt_input, "the " + what + input.position());
}

class XzSource : public ByteSource {
public:
    explicit XzSource(std::unique_ptr<CompressedInput> input) : input_(std::move(input)) {
        if (lzma_stream_decoder(&stream_, max_xz_memory_bytes, LZMA_CONCATENATED) != LZMA_OK)
            throw Error(ErrorKind::failed, "xz cannot start");
    }
    ~XzSource() override { lzma_end(&stream_); }
    XzSource& operator=(XzSource&&) = delete;

    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t filled = 0;
        while (filled < buffer.size() && !ended_) {
            const auto in = input_->available();
            stream_.next_in = reinterpret_cast<const std::uint8_t*>(in.data());
            stream_.avail_in = in.size();
            stream_.next_out = reinterpret_cast<std::uint8_t*>(buffer.data() + filled);
            stream_.avail_out = buffer.size() - filled;
            const auto status = lzma_code(&stream_, in.empty() ? LZMA_FINISH : LZMA_RUN);
            input_->consume(in.size() - stream_.avail_in);
            filled = buffer.size() - stream_.avail_out;
            ended_ = status == LZMA_STREAM_END;
            if (status != LZMA_OK && !ended_) refuse(status);
        }
        return filled;
    }

private:
    [[noreturn]] void refuse(lzma_ret status) const {
        if (status == LZMA_MEMLIMIT_ERROR)
            throw Error(ErrorKind::unsupported_image, "the xz stream needs more memory than " +
                                                          std::to_string(max_xz_memory_bytes / 1024 / 1024) + " MiB" +
                                                          input_->position());
        if (status == LZMA_OPTIONS_ERROR)
            throw Error(ErrorKind::unsupported_image, "the xz stream has an unknown filter" + input_->position());
        if (status == LZMA_MEM_ERROR) throw std::bad_alloc();
        corrupt(status == LZMA_BUF_ERROR ? "xz stream is cut off" : "xz stream is corrupt", *input_);
    }

    std::unique_ptr<CompressedInput> input_;
    lzma_stream stream_ = LZMA_STREAM_INIT;
    bool ended_ = false;
};

class Bzip2Source : public ByteSource {
public:
    explicit Bzip2Source(std::unique_ptr<CompressedInput> input) : input_(std::move(input)) { start(); }
    ~Bzip2Source() override { BZ2_bzDecompressEnd(&stream_); }
    Bzip2Source& operator=(Bzip2Source&&) = delete;

    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t filled = 0;
        while (filled < buffer.size() && !ended_) {
            const auto in = input_->available();
            stream_.next_in = reinterpret_cast<char*>(in.data());
            stream_.avail_in = static_cast<unsigned>(in.size());
            stream_.next_out = reinterpret_cast<char*>(buffer.data() + filled);
            stream_.avail_out = static_cast<unsigned>(std::min<std::size_t>(buffer.size() - filled, UINT32_MAX));
            const auto room = stream_.avail_out;
            const int status = BZ2_bzDecompress(&stream_);
            input_->consume(in.size() - stream_.avail_in);
            const auto written = room - stream_.avail_out;
            filled += written;
            if (status == BZ_STREAM_END) {
                next_stream();
            } else if (status != BZ_OK) {
                corrupt("bzip2 stream is corrupt", *input_);
            } else if (in.empty() && written == 0) {
                corrupt("bzip2 stream is cut off", *input_);
            }
        }
        return filled;
    }

private:
    void start() {
        if (BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) throw Error(ErrorKind::failed, "bzip2 cannot start");
    }

    void next_stream() {
        constexpr std::string_view magic = "BZh";
        const auto bytes = input_->peek(magic.size());
        ended_ = !std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).starts_with(magic);
        if (ended_) return;
        BZ2_bzDecompressEnd(&stream_);
        stream_ = {};
        start();
    }

    std::unique_ptr<CompressedInput> input_;
    bz_stream stream_{};
    bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> xz_source(std::unique_ptr<CompressedInput> input) {
    return std::make_unique<XzSource>(std::move(input));
}

std::unique_ptr<ByteSource> bzip2_source(std::unique_ptr<CompressedInput> input) {
    return std::make_unique<Bzip2Source>(std::move(input));
}

}  // namespace imaged
