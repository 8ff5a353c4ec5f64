// SPDX-License-Identifier: Apache-2.0
// Answers which file objects exist, for many questions in a row: a directory that is asked about often is listed once,
// which is cheaper than one stat(2) for each object, unless it contains many times more objects than questions.
//
// The list is a snapshot; objects that are written later may be missed. Belongs to one thread; borrows the
// descriptor.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.hpp"

namespace imaged {

class ObjectNames {
public:
    // OBJECTS is the repository's objects directory; SUFFIX is ".file" or, in an archive repository, ".filez".
    ObjectNames(int objects, std::string suffix) : objects_(objects), suffix_(std::move(suffix)) {}

    bool has_file(const Checksum& checksum);

private:
    // One of the 256 directories.
    struct Bucket {
        std::uint64_t questions = 0;
        std::optional<std::uint64_t> questions_before_listing;
        bool listed = false;
        // Eight bytes of each checksum, sorted: that two objects share them does not happen, and by choice only to who
        // can try 2^64 times.
        std::vector<std::uint64_t> names;
    };

    std::uint64_t questions_before_listing(const std::string& directory) const;
    void list(Bucket& bucket, const std::string& directory) const;

    const int objects_;
    const std::string suffix_;
    std::array<Bucket, 256> buckets_;
};

}  // namespace imaged
