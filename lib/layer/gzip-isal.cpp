// SPDX-License-Identifier: Apache-2.0
#include <isa-l/igzip_lib.h>

#include <algorithm>

#include "base/error.hpp"
#include "layer/gzip.hpp"

namespace imaged {

namespace {

class IsalGzip : public ByteSource {
public:
    explicit IsalGzip(std::unique_ptr<CompressedInput> input) : input_(std::move(input)) {
        isal_inflate_init(&state_);
        state_.crc_flag = ISAL_GZIP;
    }

    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t filled = 0;
        while (filled < buffer.size() && !ended_) {
            const auto in = input_->available();
            state_.next_in = reinterpret_cast<std::uint8_t*>(in.data());
            state_.avail_in = static_cast<std::uint32_t>(in.size());
            state_.next_out = reinterpret_cast<std::uint8_t*>(buffer.data() + filled);
            state_.avail_out = static_cast<std::uint32_t>(std::min<std::size_t>(buffer.size() - filled, UINT32_MAX));
            const auto room = state_.avail_out;
            const int status = isal_inflate(&state_);
            input_->consume(in.size() - state_.avail_in);
            filled += room - state_.avail_out;
            if (status < 0 || status == ISAL_NEED_DICT)
                throw Error(ErrorKind::corrupt_input,
                            std::string("the gzip stream is corrupt (") + meaning(status) + ")" + input_->position());
            if (state_.block_state == ISAL_BLOCK_FINISH) {
                if (at_gzip_member(*input_)) {
                    isal_inflate_reset(&state_);
                    state_.crc_flag = ISAL_GZIP;
                } else {
                    ended_ = true;
                }
            } else if (in.empty() && state_.avail_out == room) {
                // No input left, and nothing more came out of its buffers.
                throw Error(ErrorKind::corrupt_input, "the gzip stream is cut off" + input_->position());
            }
        }
        return filled;
    }

private:
    static const char* meaning(int status) {
        switch (status) {
            case ISAL_INVALID_BLOCK: return "invalid block";
            case ISAL_INVALID_SYMBOL: return "invalid symbol";
            case ISAL_INVALID_LOOKBACK: return "invalid distance";
            case ISAL_INVALID_WRAPPER: return "bad header";
            case ISAL_UNSUPPORTED_METHOD: return "not deflate";
            case ISAL_INCORRECT_CHECKSUM: return "wrong checksum";
            default: return "error";
        }
    }

    std::unique_ptr<CompressedInput> input_;
    inflate_state state_;
    bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> isal_gzip(std::unique_ptr<CompressedInput> input) {
    return std::make_unique<IsalGzip>(std::move(input));
}

}  // namespace imaged
