// SPDX-License-Identifier: Apache-2.0
// Escaping is lossless, and what is unescaped escapes to where it came from.
#include "store/files/ref-name.hpp"

#include <ostree.h>

#include "input.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string input(fuzz::text(data, size));
    fuzz::accepted([&] {
        const auto escaped = escape_for_ref(input);
        fuzz::require(unescape_ref(escaped) == input, "what was escaped comes back");
        if (size < 200)
            fuzz::require(ostree_validate_rev(("x/" + escaped).c_str(), nullptr) != FALSE, "it is a valid ref name");
    });
    fuzz::accepted([&] { unescape_ref(input); });
    return 0;
}
