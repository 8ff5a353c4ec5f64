// SPDX-License-Identifier: Apache-2.0
// Files that are replaced as a whole: a reader has all of the old text or all of the new.
#pragma once

#include <string>
#include <string_view>

namespace imaged {

enum class Durability {
    durable,  // on the disk when the call returns, name and all
    later,    // the caller syncs the file system, or needs no more than the file's wholeness
};

// Makes TEXT the content of the file NAME below DIRECTORY, which other users may read. Several processes may do so at
// once; the last wins. Throws a system error, and the file is as it was.
void replace_file(int directory, const std::string& name, std::string_view text, Durability durability);

}  // namespace imaged
