// SPDX-License-Identifier: Apache-2.0
// Checks how deep a JSON text nests, before it is parsed: copying, printing and comparing values is recursive, and a
// text of a few kilobytes can nest deep enough to use up the whole stack.
#pragma once

#include <cstddef>
#include <string_view>

namespace imaged {

// Whether arrays and objects in TEXT nest deeper than LIMIT. Whether it is JSON is not looked at.
inline bool nests_deeper_than(std::string_view text, std::size_t limit) {
    std::size_t depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > limit) return true;
        } else if ((c == ']' || c == '}') && depth > 0) {
            --depth;
        }
    }
    return false;
}

}  // namespace imaged
