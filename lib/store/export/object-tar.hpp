// SPDX-License-Identifier: Apache-2.0
// Writes file objects of a repository into a tar, and verifies their checksums.
#pragma once

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "layer/tar-writer.hpp"
#include "store/objects/file-object.hpp"

namespace imaged {

// Gives ITEM the owner and permissions of META.
void take_owner(TarItem& item, const FileMeta& meta);

// ITEM with the object's owner, mode, type, link target and size, and its content after it. Extended attributes are the
// caller's business. Throws Error(repository_damaged) for an object that does not have CHECKSUM.
void add_object(TarWriter& tar, TarItem item, FileObject& object, const Checksum& checksum,
                const Cancellation& cancellation);

}  // namespace imaged
