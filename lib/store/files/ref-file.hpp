// SPDX-License-Identifier: Apache-2.0
// Reads refs from disk one by one, so that an invalid entry counts as damage of that ref alone. libostree refuses to
// list any ref if one of them is a link that leads nowhere.
//
// An alias (`ostree refs --alias`) is a symbolic link to another ref.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/checksum.hpp"
#include "base/directory.hpp"
#include "base/error.hpp"

namespace imaged {

// A ref is broken if its file holds no valid checksum, if it is a link whose target is missing, or if it is no file.
struct RefTarget {
    bool exists = false;             // false also of a directory
    std::optional<Checksum> commit;  // nullopt if the ref is broken or does not exist
    bool operator==(const RefTarget&) const = default;
};
// The commits of refs by the ref's full name; nullopt for a broken ref.
using Refs = std::map<std::string, std::optional<Checksum>>;
// Returns the refs that are not broken.
std::map<std::string, Checksum> whole(const Refs& refs);

// Reads the ref at PATH below DIRECTORY, aliases followed. Throws a system error if the ref cannot be read: such a ref
// must not count as absent.
RefTarget read_ref_file(int directory, const std::string& path);

// Call before the ref is written. Removes an empty directory in its place, which libostree may have left. Throws
// Error(repository_damaged) if there are refs in the directory.
void require_no_ref_directory(int repository, const std::string& ref);

// Refs and directories of refs that the system could not read, by name, and why. A function that gets none throws the
// error instead. It always throws where the system runs short of something (is_shortage()).
using UnreadableRefs = std::map<std::string, Error>;

// Calls READ, and notes a failure of it about the ref NAME in UNREADABLE.
void read_or_note(UnreadableRefs* unreadable, const std::string& name, const std::function<void()>& read);

enum class RefEntryKind {
    ref,        // or an alias
    directory,  // of refs: one itself, or a symbolic link to one, which the kernel follows for who opens a ref below it
    loop,       // a link to a directory that it is in: its refs have a name already
};
// Returns the kind of ENTRY in the directory PATH below REPOSITORY.
RefEntryKind kind_of(int repository, const std::string& path, const DirectoryEntry& entry);

struct RefEntry {
    std::string name;  // PREFIX, and what follows PATH
    bool alias = false;
};
// Calls VISIT for every entry of the kind ref at or below PATH; never if PATH does not exist. It is a system error if
// PATH is a link that leads nowhere. PREFIX ends in a slash, or is empty for the names of all refs below refs/heads;
// without its slash it is the name of PATH itself.
void visit_ref_files(int directory, const std::string& path, const std::string& prefix, UnreadableRefs* unreadable,
                     const std::function<void(const RefEntry&)>& visit);
// Calls VISIT in the same way for every ref, with the commit that it names; nullopt if the ref is broken.
void visit_refs(int directory, const std::string& path, const std::string& prefix, UnreadableRefs* unreadable,
                const std::function<void(const std::string& name, const std::optional<Checksum>& commit)>& visit);

// The ref or alias that the alias at refs/heads/NAME leads to, by full name; nullopt if it leads out of refs/heads. The
// link may be relative or absolute.
std::optional<std::string> alias_target(int repository, const std::string& name);

}  // namespace imaged
