// SPDX-License-Identifier: Apache-2.0
// Verifies file objects: hashes their bytes and metadata again. A file larger than a layer may unpack to is not read:
// the program that wrote the repository decides how large a file with holes is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "store/objects/object-listing.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// Bytes of a regular file's content, and those that it takes where it is stored: fewer if it has holes or is
// compressed.
struct ContentSize {
    std::uint64_t content = 0, stored = 0;
};

class ObjectCheck {
public:
    // Borrows both. The repository is in a mode that holds images.
    ObjectCheck(const Repository& repository, const Cancellation& cancellation);

    // Returns what is wrong with a file object, for people; nullopt if nothing is. Throws Error(cancelled).
    // Thread-safe.
    std::optional<std::string> fault_of(const LooseObject& object) const;
    // The same for FILE, which was opened for reading, or with O_PATH for a symbolic link. Moves its offset. SIZE is
    // set for a regular file. Thread-safe.
    std::optional<std::string> fault_of(int file, const Checksum& checksum, ContentSize& size) const;

private:
    enum class Format { bare, bare_user, archive };

    bool matches(int file, const Checksum& checksum, ContentSize& size) const;

    const Cancellation& cancellation_;
    const Format format_;
};

}  // namespace imaged
