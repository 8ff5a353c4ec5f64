// SPDX-License-Identifier: Apache-2.0
// The tar stream of a derived layer.
#include "layer/derived-layer.hpp"
#include "input.hpp"
#include "layer/tar-reader.hpp"
#include "memory-sink.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    // The first byte chooses the rules.
    DerivedLayerRules rules;
    rules.mapping.move_var = (data[0] & 1) != 0;
    rules.root = (data[0] & 2) != 0 ? RootPolicy::usr_etc_var : RootPolicy::everything;
    fuzz::MemorySource source(data + 1, size - 1);
    fuzz::accepted([&] {
        TarReader tar(source);
        fuzz::MemorySink sink;
        const auto layer = read_derived_layer(tar, sink, rules);
        sink.read_metadata(ObjectType::dirtree, layer.root.tree);
        sink.read_metadata(ObjectType::dirmeta, layer.root.meta);
    });
    return 0;
}
