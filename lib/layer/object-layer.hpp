// SPDX-License-Identifier: Apache-2.0
// Reads commit and chunk layers: tars of OSTree objects, as ostree-ext's encapsulation writes them (versions 0 and 1).
//
//   sysroot/ostree/repo/objects/XX/REST.TYPE           commit, commitmeta, dirtree, dirmeta, file
//   sysroot/ostree/repo/objects/XX/REST.file-xattrs    the attributes of a file, a(ayay); named by their own checksum
//   sysroot/ostree/repo/objects/XX/REST.file-xattrs-link   a hard link to those, before the file of the same name
//   sysroot/ostree/repo/xattrs/SHA, objects/XX/REST.file.xattrs   the same in version 0
// Everything else (the tree of hard links that makes the layer runnable) is ignored.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layer/object-sink.hpp"
#include "layer/tar-reader.hpp"

namespace imaged {

struct LayerObject {
    Checksum checksum;
    std::string type;  // what follows the checksum and a dot; "file-xattrs" and "file-xattrs-link" in both versions
};
// The object that an entry with PATH is; nullopt if it is none. Throws Error(corrupt_input) for a name without a
// checksum.
std::optional<LayerObject> object_in_layer(const Path& path);

struct ObjectLayer {
    std::optional<Checksum> commit;
    std::optional<std::string> commit_metadata;  // the detached metadata (commitmeta), serialised a{sv}
    std::vector<Checksum> files;                 // sorted, each once
};

// Reads TAR to its end and puts its objects into SINK, its files into SINK_OF_FILE's if there is one; those that are
// setuid or setgid or have capabilities only into SINK. Each must have the checksum that its name says. A commit is
// accepted only with WANTS_COMMIT, and is then required. Throws Error(corrupt_input) naming the object.
ObjectLayer read_object_layer(TarReader& tar, ObjectSink& sink, bool wants_commit, const SinkOfFile& sink_of_file = {});

// The commit that a signature is made over, and the detached metadata that holds the signature.
struct CommitHead {
    Checksum checksum;
    std::string commit;
    std::optional<std::string> metadata;  // serialised a{sv}
};

// Reads TAR no further than to the commit and its detached metadata; without the latter to its end. Nothing else is
// looked at. Throws Error(corrupt_input) when there is no commit.
CommitHead read_commit_head(TarReader& tar);

}  // namespace imaged
