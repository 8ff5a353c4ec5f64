// SPDX-License-Identifier: Apache-2.0
// Verifies file objects: hashes their bytes and metadata again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "store/repository/object-listing.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class ObjectCheck {
public:
    // Borrows the repository.
    explicit ObjectCheck(const Repository& repository);

    // What is wrong with a file object, for people; nothing where it is right. Thread-safe where parallel() says so.
    std::optional<std::string> fault_of(const LooseObject& object) const;
    // The same of an open file object in any format: FILE was opened for reading, or with O_PATH for a symbolic link.
    // Thread-safe. Moves FILE's offset.
    std::optional<std::string> fault_of(int file, const Checksum& checksum) const;
    // Formats that are read here rather than by libostree.
    bool parallel() const { return format_ != Format::others; }

private:
    enum class Format { bare, bare_user, others };

    bool matches(int file, const Checksum& checksum) const;

    const Repository& repository_;
    const Format format_;
};

}  // namespace imaged
