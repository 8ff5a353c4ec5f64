// SPDX-License-Identifier: Apache-2.0
// Replaces whole files: a reader sees either the old text or the new.
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
