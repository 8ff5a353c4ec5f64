// SPDX-License-Identifier: Apache-2.0
// Finds the file of the source image from which a file of the target can be made: the one at the same path, one with
// the same content, or one whose path differs in numbers only, as paths with versions do.
//
// Filled by one thread; after finish() all members are thread-safe. Memory: some 130 bytes and the path of each file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "base/file-descriptor.hpp"

namespace imaged::delta {

class SourceIndex {
public:
    struct File {
        FileDescriptor fd;
        std::uint64_t size = 0;
    };
    struct Hooks {
        // The regular file that OBJECT holds; an empty descriptor for anything else.
        std::function<File(const Checksum& object)> open;
        // The size of a regular file, without opening it; nullopt for anything else.
        std::function<std::optional<std::uint64_t>(const Checksum& object)> size;
        // Whether FILE has the content that OBJECT names: other hosts have that one. All are sound without it.
        std::function<bool(const File& file, const Checksum& object)> sound = {};
    };
    // CANCELLATION is borrowed.
    SourceIndex(Hooks hooks, const Cancellation& cancellation)
        : hooks_(std::move(hooks)), cancellation_(cancellation) {}

    // A file of the source image that deltas name by its PATH, which is in the image's own paths, without a slash in
    // front; BY_OBJECT: as the object OBJECT in a layer of OSTree objects. Of two with one path the first counts. A
    // file beyond the limit is left out.
    void add(std::string_view path, const Checksum& object, bool by_object);
    void finish();
    bool empty() const { return files_.empty(); }

    using Number = std::uint32_t;
    // The file at PATH, or whose object has this name in a layer.
    std::optional<Number> at(std::string_view path) const;
    // The file of which PATH is likely to be another version. SIZE is that of the new one.
    std::optional<Number> like(std::string_view path, std::uint64_t size) const;
    // Whether any file has SIZE bytes. Looks at every file the first time.
    bool has_size(std::uint64_t size);
    // The file of SIZE bytes with the SHA-256 CONTENT. Reads all files of this size the first time.
    std::optional<Number> with_content(std::uint64_t size, const Checksum& content);

    // The file's name in a delta.
    std::string name(Number number) const;
    File open(Number number) const { return hooks_.open(files_[number].object); }
    // The same for a file that something else is made of; an empty descriptor for a damaged one as well.
    File open_sound(Number number) const {
        auto file = open(number);
        return !file.fd || !hooks_.sound || hooks_.sound(file, files_[number].object) ? std::move(file) : File();
    }

private:
    struct Entry {
        Checksum object;
        std::uint32_t path_offset;
        std::uint16_t path_size;
        bool by_object;
    };
    using Table = std::vector<std::pair<std::uint64_t, Number>>;  // sorted
    std::string_view path(Number number) const;
    std::optional<Number> closest(const Table& table, std::uint64_t hash, std::string_view path,
                                  std::uint64_t size) const;

    const Hooks hooks_;
    const Cancellation& cancellation_;
    std::vector<Entry> files_;
    std::string paths_;
    Table exact_, alike_, names_;
    std::mutex mutex_;  // of what follows
    bool sized_ = false;
    Table sizes_;
    std::map<std::uint64_t, std::map<Checksum, Number>> contents_;
    std::size_t contents_kept_ = 0;
};

}  // namespace imaged::delta
