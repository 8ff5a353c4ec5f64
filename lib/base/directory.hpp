// SPDX-License-Identifier: Apache-2.0
// Lists, opens and removes directories.
#pragma once

#include <functional>
#include <string>

#include "base/file-descriptor.hpp"

namespace imaged {

struct DirectoryEntry {
    int directory;               // that it is in
    const char* name;            // neither "." nor ".."
    bool is_directory, is_link;  // itself; neither where it is gone by now
};

// Calls VISIT with each entry of DIRECTORY, in no order; with none if that is an empty descriptor. What it is given is
// valid during the call. Throws a system error that calls the directory NAME, and what VISIT throws.
void visit_directory(FileDescriptor directory, const std::string& name,
                     const std::function<void(const DirectoryEntry&)>& visit);

// Whether PATH is there, be it a link that leads nowhere.
bool exists(int directory, const std::string& path);
// renameat2(2) with RENAME_NOREPLACE, also on a file system without it (NFS), where a directory may replace an empty one.
// Returns 0, or -1 with errno.
int rename_without_replacing(int from, const char* name, int to, const char* new_name);
// Removes a file or a directory tree below DIRECTORY; never follows symbolic links. Missing is fine. CHECK is called
// before each entry, and ends it by what it throws.
void remove_tree(int directory, const std::string& name, const std::function<void()>& check = {});

}  // namespace imaged
