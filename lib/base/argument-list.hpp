// SPDX-License-Identifier: Apache-2.0
// Lists of arguments and variables as execve(2) takes them.
#pragma once

#include <string>
#include <vector>

namespace imaged {

// Pointers to TEXTS, with a null pointer at the end. Valid as long as TEXTS is neither changed nor destroyed.
inline std::vector<char*> null_terminated(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

}  // namespace imaged
