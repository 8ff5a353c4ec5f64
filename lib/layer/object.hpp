// SPDX-License-Identifier: Apache-2.0
// Serialises and names OSTree objects: metadata of files and directories, and listings of directories. (libostree's
// ostree-core.h: OSTREE_FILEMETA, OSTREE_DIRMETA_GVARIANT_FORMAT, OSTREE_TREE_GVARIANT_FORMAT,
// OSTREE_COMMIT_GVARIANT_FORMAT.)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checksum.hpp"
#include "base/glib.hpp"
#include "layer/object-placement.hpp"

namespace imaged {

enum class ObjectType { file, dirtree, dirmeta, commit };

// "file", "dirtree", "dirmeta", "commit": what an object's file name ends in.
std::string_view suffix(ObjectType type);
// CHECKSUM.TYPE, as errors call an object.
std::string object_name(const Checksum& checksum, ObjectType type);

// Extended attributes as OSTree keeps them: a(ayay), names with their NUL, sorted by name. Immutable and shared; null
// stands for none.
using Xattrs = std::shared_ptr<GVariant>;

// Makes attributes from name and value pairs sorted by name, each name once.
Xattrs make_xattrs(const std::vector<std::pair<std::string, std::string>>& sorted);
// Parses the serialised form. Throws Error(corrupt_input) unless it is in normal form, sorted, and every name is
// well-formed.
Xattrs parse_xattrs(std::string_view bytes);
// Returns each name and value; an empty list for null.
std::vector<std::pair<std::string, std::string>> xattr_list(const Xattrs& xattrs);

struct FileMeta {
    std::uint32_t uid = 0, gid = 0;
    std::uint32_t mode = 0;  // with the file type
    Xattrs xattrs;
};

// Whether a user who executes a file with META gets the rights of others by that.
bool gives_rights(const FileMeta& meta);

// The length-prefixed header of the object's metadata, hashed before a file's content. TARGET is a symbolic link's,
// else empty.
std::string file_header(const FileMeta& meta, std::string_view target);

// The bytes of a dirmeta object; META.mode carries S_IFDIR.
std::string serialise_dirmeta(const FileMeta& meta);
FileMeta parse_dirmeta(std::string_view bytes);
// The directory that nobody described: 0755, root:root, no xattrs.
inline constexpr std::uint32_t implicit_directory_mode = 040755;

// The bytes of user.ostreemeta on an object in a bare-user repository.
std::string serialise_user_meta(const FileMeta& meta);

struct CommitContent {
    VariantPtr metadata;  // a{sv}; null for none
    std::optional<Checksum> parent;
    std::uint64_t timestamp = 0;  // seconds since 1970
    Checksum tree, meta;          // of the root
};
std::string serialise_commit(const CommitContent& commit);

}  // namespace imaged
