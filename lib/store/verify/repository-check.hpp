// SPDX-License-Identifier: Apache-2.0
// Checks the objects that a number of commits reach, each once: commits and directories during the walk, file objects
// afterwards, several at a time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/cancellation.hpp"
#include "store/objects/checksum-set.hpp"
#include "store/objects/object-check.hpp"
#include "store/objects/object-listing.hpp"
#include "store/objects/object-names.hpp"
#include "store/repository/repository.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

class RepositoryCheck {
public:
    // Borrows everything.
    RepositoryCheck(const Repository& repository, const Cancellation& cancellation, WorkObserver& observer);

    // Checks COMMIT and its directories, and notes its files.
    void walk(const Checksum& commit);
    // Checks the files that were noted. Throws Error(cancelled).
    void hash_files();

    // The fault of an object that is not there.
    static constexpr std::string_view missing = "is missing";
    // By object_name(): what is wrong. A missing file is among them once fault_of_file() was asked about it.
    const std::map<std::string, std::string>& bad_objects() const { return bad_; }
    bool is_bad(const std::string& object) const { return bad_.contains(object); }
    // The fault of a file object; nullopt if it is intact.
    std::optional<std::string> fault_of_file(const Checksum& file);
    // Whether anything is wrong.
    bool any_bad() const { return !bad_.empty() || any_missing_; }

    // Commits that were walked and that libostree marks as partial.
    const std::vector<Checksum>& marked() const { return marked_; }

    std::uint64_t objects() const { return metadata_ + files_.size(); }
    std::uint64_t bytes() const { return bytes_; }

private:
    void check_meta(const Checksum& meta);
    // Notes an object that could not be read because of ERROR, which is being handled. Rethrows a shortage.
    void note_bad(const Checksum& checksum, ObjectType type, const Error& error);
    void note_file(const Checksum& file);
    void hash_directory(unsigned directory);
    void hash_known(unsigned directory);
    void hash(const LooseObject& object);

    const Repository& repository_;
    const Cancellation& cancellation_;
    WorkObserver& observer_;
    const ObjectCheck check_;
    ObjectNames names_;
    // A wrong "yes" leaves one object unchecked; it takes two objects that share eight bytes of their checksums.
    ChecksumSet commits_, trees_, metas_, files_;
    std::vector<Checksum> marked_;
    // The files by the directories of their objects, as long as they are few: those are found by name, and the rest of
    // the repository is not looked at.
    static constexpr std::size_t max_known = 16 * 1024;
    std::array<std::vector<Checksum>, object_directories> known_;
    std::uint64_t metadata_ = 0;
    bool any_missing_ = false;

    // While files are hashed: shared with the threads.
    std::mutex mutex_;
    std::map<std::string, std::string> bad_;
    std::uint64_t seen_ = 0, bytes_ = 0;
};

}  // namespace imaged
