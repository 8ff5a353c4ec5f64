// SPDX-License-Identifier: Apache-2.0
// The names of the staged objects of a sink, and their publication: exactly these objects, and each one is checked to
// be in place.
//
// A directory is never listed for it, because a listing does not show what another program has removed. An object that
// is in the repository already is never replaced. Thirty-four bytes for each object, which beyond a few megabytes are
// not the process's (SpillArray). Belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>

#include "base/checksum.hpp"
#include "base/spill-array.hpp"
#include "layer/object-placement.hpp"
#include "layer/object.hpp"
#include "layer/staging-area.hpp"

namespace imaged {

// Return the path of an object in the scratch directory, and in the repository's objects directory.
std::string staged_name(const Checksum& checksum, ObjectType type);
std::string object_path(const Checksum& checksum, ObjectType type);

class StagedObjects {
public:
    // ARCHIVE: file objects are those of an archive repository.
    explicit StagedObjects(bool archive = false) : archive_(archive) {}
    // The object was written to the scratch directory. More than once has no effect.
    void add(const Checksum& checksum, ObjectType type) { add(Name{checksum, type, State::staged}); }
    // The object was found in the repository.
    void add_present(const Checksum& checksum, ObjectType type) { add(Name{checksum, type, State::present}); }
    // Calls DROP for each staged dirtree that is not in KEEP, and forgets it.
    void retain_dirtrees(const std::unordered_set<Checksum>& keep, const std::function<void(const Checksum&)>& drop);

    // Moves what was staged in SCRATCH to OBJECTS, the repository's objects directory: parts before what names them.
    // DIRECTORY gives the number of the directory of the scratch directory that a checksum's object is in.
    // BEFORE_COMMITS is called when only commits are left. Throws Error(failed) for an object that is neither there nor
    // in the repository.
    void publish(Scratch& scratch, int objects, const std::function<unsigned(const Checksum&)>& directory,
                 const std::function<void()>& before_commits) const;

private:
    enum class State : std::uint8_t { staged, present, dropped };
    struct Name {
        Checksum checksum;
        ObjectType type;
        State state;
    };
    // Entries of the largest layer with the directories of the largest merge. Address space, not memory.
    static constexpr std::size_t max_names = 16 * 1024 * 1024;

    void add(const Name& name);

    const bool archive_;
    SpillArray<Name> names_{max_names};
};

}  // namespace imaged
