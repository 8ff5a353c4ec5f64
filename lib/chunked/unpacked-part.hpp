// SPDX-License-Identifier: Apache-2.0
// Decompresses a part of a layer, up to the size that its table or annotation states.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "layer/byte-source.hpp"
#include "layer/decompressor.hpp"

namespace imaged {

class UnpackedPart : public ByteSource {
public:
    // PACKED is borrowed. WHAT names the part in the Error(corrupt_input) that read() throws beyond LIMIT bytes.
    UnpackedPart(ByteSource& packed, std::uint64_t limit, std::string what)
        : text_(decompress(packed)), left_(limit), what_(std::move(what)) {}

    std::size_t read(std::span<std::byte> buffer) override {
        const auto count = text_->read(buffer);
        if (count > left_) throw Error(ErrorKind::corrupt_input, what_ + " is longer than it says");
        left_ -= count;
        return count;
    }

private:
    const std::unique_ptr<ByteSource> text_;
    std::uint64_t left_;
    const std::string what_;
};

}  // namespace imaged
