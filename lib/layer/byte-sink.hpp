// SPDX-License-Identifier: Apache-2.0
// A stream of bytes that is pushed: the interface of the stages that write a layer.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace imaged {

class ByteSink {
public:
    virtual ~ByteSink() = default;
    virtual void write(std::span<const std::byte> bytes) = 0;
    void write(std::string_view bytes) { write(std::as_bytes(std::span(bytes))); }
};

}  // namespace imaged
