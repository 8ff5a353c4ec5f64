// SPDX-License-Identifier: Apache-2.0
// Collects facts about each object of a repository for counting (object-graph.hpp): its bytes on disk, and the objects
// that it references. Costs one lstat(2) for each object and one read for each directory and commit.
//
// Objects never change, so their facts are recorded, and the next count examines new objects only. It lists the
// directories that have changed since (base/file-stamp.hpp), and examines again the detached metadata there, which
// other metadata may have replaced. Objects with several hard links, or unreadable ones, are examined each time.
//
// On disk: extensions/imaged/objects, in the byte order of the machine. New facts of a directory are appended, with a
// SHA-256 of their own, until half of the record is out of date; then the whole record is written again. The record is
// valid in this repository only, and optional: if it is absent or any part of it is invalid, each object is examined.
// Nothing is removed because of it.
#pragma once

#include <sys/types.h>

#include <array>
#include <bitset>
#include <compare>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "base/file-stamp.hpp"
#include "store/objects/object-listing.hpp"
#include "store/repository/repository.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

enum class ObjectKind : std::uint8_t { file, dirtree, dirmeta, commit, metadata, compat_metadata, other, shared_file };

// Names an object by the first 61 bits of its checksum and its kind. That two objects have the same key does not happen
// by chance; by choice it makes a number wrong, and nothing else.
class ObjectKey {
public:
    ObjectKey(const Checksum& checksum, ObjectKind kind);
    explicit ObjectKey(std::uint64_t value) : value_(value) {}
    std::uint64_t value() const { return value_; }
    ObjectKind kind() const { return static_cast<ObjectKind>(value_ & kind_bits); }
    unsigned directory() const { return static_cast<unsigned>(value_ >> 56); }  // of objects/00 to objects/ff
    auto operator<=>(const ObjectKey&) const = default;

private:
    static constexpr std::uint64_t kind_bits = 7;

    std::uint64_t value_;
};

struct ObjectFact {
    ObjectKey key;
    std::uint64_t bytes;               // none of its own if it is one of several links
    std::uint32_t first;               // of what it names
    std::uint32_t count : 30 = 0;      // likewise
    std::uint32_t broken : 1 = 0;      // it cannot be read
    std::uint32_t from_image : 1 = 0;  // a commit that shows it (garbage.hpp)
};

// An object that is one of several links to a file.
struct ObjectLink {
    ObjectKey key;
    std::string name;     // of its file, in its directory
    std::uint64_t bytes;  // of the file
    std::pair<dev_t, ino_t> file;
    nlink_t links;
};

// What is known of one object directory.
struct DirectoryFacts {
    FileStamp stamp;                  // before it was listed; zero if a change since might not show
    std::vector<ObjectFact> objects;  // sorted by key
    std::vector<ObjectKey> named;
    std::vector<ObjectLink> links;
    std::vector<Checksum> commits;
};

class ObjectFacts {
public:
    // Looks at each object that is not KNOWN. OBSERVER is called with directories. Throws Error(cancelled), and what
    // the system cannot read.
    static ObjectFacts read(const Repository& repository, ObjectFacts known, const Cancellation& cancellation,
                            WorkObserver& observer);

    // Returns the facts that were kept for REPOSITORY; no facts if there is no record or an invalid one.
    static ObjectFacts load(const Repository& repository) noexcept;
    // Keeps them, if anything is new. Throws what keeps the record from being written.
    void save(const Repository& repository) const;

    const DirectoryFacts& of(unsigned directory) const { return directories_[directory]; }
    // Frees the memory of the facts about DIRECTORY.
    void forget(unsigned directory) { directories_[directory] = {}; }

private:
    std::array<DirectoryFacts, object_directories> directories_;
    std::bitset<object_directories> is_new_;
    // Bytes of the record that was loaded, and those of them that still count.
    std::size_t recorded_ = 0, counting_ = 0;
};

// About how many objects REPOSITORY has, by one of its directories.
std::size_t estimated_objects(const Repository& repository);

}  // namespace imaged
