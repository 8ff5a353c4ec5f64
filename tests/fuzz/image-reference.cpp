// SPDX-License-Identifier: Apache-2.0
// A reference that is accepted means the same when its canonical form is read again.
#include "oci/image-reference.hpp"

#include "input.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::accepted([&] {
        const auto reference = ImageReference::parse(fuzz::text(data, size));
        const auto again = ImageReference::parse(reference.canonical());
        fuzz::require(again == reference, "the canonical form means the same");
        fuzz::require(again.canonical() == reference.canonical(), "the canonical form is canonical");
        fuzz::require(ImageReference::parse(reference.image()).name() == reference.name(), "the image keeps its name");
    });
    return 0;
}
