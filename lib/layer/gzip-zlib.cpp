// SPDX-License-Identifier: Apache-2.0
#include <zlib.h>

#include <algorithm>

#include "base/error.hpp"
#include "layer/gzip.hpp"

namespace imaged {

namespace {

class ZlibGzip : public ByteSource {
public:
    explicit ZlibGzip(std::unique_ptr<CompressedInput> input) : input_(std::move(input)) {
        // 16: gzip framing only.
        if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw Error(ErrorKind::failed, "zlib cannot start");
    }
    ~ZlibGzip() override { inflateEnd(&stream_); }

    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t filled = 0;
        while (filled < buffer.size() && !ended_) {
            const auto in = input_->available();
            stream_.next_in = reinterpret_cast<Bytef*>(in.data());
            stream_.avail_in = static_cast<uInt>(in.size());
            stream_.next_out = reinterpret_cast<Bytef*>(buffer.data() + filled);
            stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(buffer.size() - filled, UINT32_MAX));
            const auto room = stream_.avail_out;
            const int status = inflate(&stream_, Z_NO_FLUSH);
            input_->consume(in.size() - stream_.avail_in);
            filled += room - stream_.avail_out;
            if (status == Z_STREAM_END) {
                if (at_gzip_member(*input_)) {
                    inflateReset(&stream_);
                } else {
                    ended_ = true;
                }
            } else if (status == Z_BUF_ERROR && in.empty()) {
                throw Error(ErrorKind::corrupt_input, "the gzip stream is cut off" + input_->position());
            } else if (status != Z_OK && status != Z_BUF_ERROR) {
                throw Error(ErrorKind::corrupt_input, std::string("the gzip stream is corrupt (") +
                                                          (stream_.msg != nullptr ? stream_.msg : "error") + ")" +
                                                          input_->position());
            }
        }
        return filled;
    }

private:
    std::unique_ptr<CompressedInput> input_;
    z_stream stream_{};
    bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> zlib_gzip(std::unique_ptr<CompressedInput> input) {
    return std::make_unique<ZlibGzip>(std::move(input));
}

}  // namespace imaged
