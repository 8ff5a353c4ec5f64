// SPDX-License-Identifier: Apache-2.0
// Finds an object of the repository by the SHA-256 of its content, wherever a file with it is, in whichever image.
//
// No index of contents is kept. Objects of the wanted size are hashed: a size is shared by few files, sizes cost one
// look at each object, and nothing on disk can be lost or wrong. An own file would have to be written by every import
// and cleaned by every prune, and would lack what other programs stored. libostree's payload-links are such an index,
// but libostree writes them only for repositories with core.payload-link-threshold, for files above it, and not for
// objects that imaged writes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"

namespace imaged {

// The sizes of the file objects of a repository, at one time. Thread-safe.
class ObjectSizes {
public:
    // Smaller files are fetched in the time that it takes to find them.
    static constexpr std::uint64_t least_bytes = 1024;
    struct Object {
        std::uint64_t size;
        Checksum checksum;
    };

    // OBJECTS, the objects directory of a repository whose file objects are their content, is borrowed. Looks at each
    // object; 40 bytes of memory for each that counts.
    ObjectSizes(int objects, const Cancellation& cancellation);

    // Returns the objects of this size in the order of their checksums.
    std::span<const Object> of_size(std::uint64_t size) const;
    // Up to COUNT objects of about SIZE bytes, the most similar first.
    std::vector<Object> near(std::uint64_t size, std::size_t count) const;

private:
    std::vector<Object> objects_;  // sorted
};

// Belongs to one thread.
class ContentSearch {
public:
    // CONTENT_OF gives the SHA-256 of an object's content; nullopt if it is not there, or not of that size any more.
    using ContentOf = std::function<std::optional<Checksum>(const ObjectSizes::Object&)>;
    ContentSearch(std::function<const ObjectSizes&()> sizes, ContentOf content_of)
        : sizes_(std::move(sizes)), content_of_(std::move(content_of)) {}

    // A file of SIZE bytes will be looked for.
    void expect(std::uint64_t size) { may_read_ += files_of_size * size + more_bytes; }
    // An object whose content has SIZE bytes and the checksum CONTENT. Reads no object twice, and on average no more
    // than some files of that size for each that is expected, so that fetching the file would take longer.
    std::optional<Checksum> find(std::uint64_t size, const Checksum& content);
    bool has_read(const Checksum& object) const { return contents_.contains(object); }

private:
    // Limits of all calls together: so many bytes, which takes a tenth of a second, and for each expected file so
    // many files of its size and so many bytes. A network is that much slower than hashing.
    static constexpr std::uint64_t first_bytes = 64 * 1024 * 1024, files_of_size = 12, more_bytes = 64 * 1024;
    // Opening a file takes as long as reading so many bytes.
    static constexpr std::uint64_t open_bytes = 4096;

    const std::function<const ObjectSizes&()> sizes_;
    const ContentOf content_of_;
    std::uint64_t may_read_ = first_bytes;
    std::unordered_map<Checksum, std::optional<Checksum>> contents_;  // of objects that were read
};

}  // namespace imaged
