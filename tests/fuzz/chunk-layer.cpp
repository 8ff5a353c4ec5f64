// SPDX-License-Identifier: Apache-2.0
// The tar stream of a chunk layer.
#include "input.hpp"
#include "layer/object-layer.hpp"
#include "layer/tar-reader.hpp"
#include "memory-sink.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::MemorySource source(data, size);
    fuzz::accepted([&] {
        TarReader tar(source);
        fuzz::MemorySink sink;
        const auto layer = read_object_layer(tar, sink, false);
        for (const auto& file : layer.files) fuzz::require(sink.has_file(file), "a file that is told of is there");
    });
    return 0;
}
