// SPDX-License-Identifier: Apache-2.0
// The tar stream of a chunk layer.
#include "object-layer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    imaged::fuzz::read_objects(data, size, false);
    return 0;
}
