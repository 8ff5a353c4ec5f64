// SPDX-License-Identifier: Apache-2.0
// Finds the position of each file in an uncompressed tar, so that it can be read in place (POSIX.1-2001 pax, ustar, and
// GNU's long names). Links lead to the file that they name.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/cancellation.hpp"

namespace imaged {

class TarIndex {
public:
    struct Place {
        std::uint64_t offset = 0, size = 0;
    };

    // FD is a file that can be read at any place; borrowed. Throws Error(corrupt_input) naming the offset of what is no
    // tar header, Error(unsupported_image) for more entries than any archive of an image has.
    TarIndex(int fd, const Cancellation& cancellation);

    // NAME without "./" in front; the last entry of that name counts.
    std::optional<Place> find(const std::string& name) const;

private:
    std::map<std::string, Place> files_;
    std::map<std::string, std::string> links_;
};

// Reads SIZE bytes at OFFSET, or throws Error(corrupt_input) when the file ends before.
std::string read_at(int fd, std::uint64_t offset, std::uint64_t size, const std::string& what);

}  // namespace imaged
