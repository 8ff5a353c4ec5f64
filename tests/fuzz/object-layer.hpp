// SPDX-License-Identifier: Apache-2.0
// What the fuzzers of layers that are made of objects share.
#pragma once

#include "input.hpp"
#include "layer/object-layer.hpp"
#include "layer/tar-reader.hpp"
#include "memory-sink.hpp"

namespace imaged::fuzz {

inline void read_objects(const std::uint8_t* data, std::size_t size, bool wants_commit) {
    MemorySource source(data, size);
    accepted([&] {
        TarReader tar(source);
        MemorySink sink;
        const auto layer = read_object_layer(tar, sink, wants_commit);
        for (const auto& file : layer.files) require(sink.has_file(file), "a file that is told of is there");
    });
}

}  // namespace imaged::fuzz
