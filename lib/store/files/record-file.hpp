// SPDX-License-Identifier: Apache-2.0
// Reads and writes imaged's own small files in a repository, in extensions/imaged. Each directory on the way must be
// a directory of this process's user or root that nobody else may write; no symbolic link is followed. A file for which
// this does not hold counts as absent, is never written to, and fails no job. A file that the system cannot read (too
// few descriptors, a disk that fails) does not count as absent: each function throws the system's error.
#pragma once

#include <optional>
#include <string>

#include "base/file-descriptor.hpp"
#include "base/replace-file.hpp"

namespace imaged {

// Opens the directory PATH of REPOSITORY ("extensions/imaged", "extensions/imaged/layers"); an empty descriptor if it
// is missing or not as above.
FileDescriptor open_records(int repository, const std::string& path);
// Makes it if need be. Whatever stands in its place below "extensions" and is not as above gets another name beside it,
// which ends in ".set-aside-" and a number. An empty descriptor if that does not help.
FileDescriptor make_records(int repository, const std::string& path);

// The text of NAME in DIRECTORY; nullopt if it is missing, longer than LIMIT, no regular file, or if another user owns
// or may write it.
std::optional<std::string> read_record(int directory, const std::string& name, std::size_t limit);
// Replaces NAME at once, by rename(2): the stamps of NAME and of DIRECTORY change (base/file-stamp.hpp).
void write_record(int directory, const std::string& name, const std::string& text,
                  Durability durability = Durability::later);
// Appends to NAME; what several processes append at once stands one after the other. A power cut may leave a part of
// TEXT, or other bytes. False if NAME is missing or not as above.
bool append_record(int directory, const std::string& name, const std::string& text);

// Describes the fault of the directories of records in REPOSITORY, for people; nullopt if there is none.
std::optional<std::string> record_place_fault(int repository);

}  // namespace imaged
