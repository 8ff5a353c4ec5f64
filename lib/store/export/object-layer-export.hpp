// SPDX-License-Identifier: Apache-2.0
// Writes the layers of an encapsulated OSTree commit, as ostree-ext writes them (format version 1, see
// layer/object-layer.hpp): each object under sysroot/ostree/repo/objects, and the tree as hard links to the objects, so
// that other tools unpack it as files.
//
// Belongs to one thread after it was made, but for write_chunk() and write_commit(), which several may call at once.
#pragma once

#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "layer/byte-sink.hpp"
#include "layer/tar-writer.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class ObjectLayerExport {
public:
    // BASE is the commit, CHUNKS the commits of its chunk layers. Borrows repository and cancellation. Memory grows
    // with the number of files: some 60 bytes and the name of each.
    ObjectLayerExport(const Repository& repository, const Cancellation& cancellation, const Checksum& base,
                      const std::vector<Checksum>& chunks);

    // ENTRY is the TarWriter's.
    void write_chunk(const Checksum& chunk, ByteSink& sink, const TarEntryHook& entry = {}) const;
    // The commit, every directory, and the files that no chunk has.
    void write_commit(ByteSink& sink, const TarEntryHook& entry = {}) const;

private:
    class Layer;
    struct File {
        Checksum object;
        std::uint32_t directory;  // in directories_
        std::uint32_t name_offset, name_size;
    };

    void index();
    std::vector<Checksum> files_of(const Checksum& chunk) const;

    const Repository& repository_;
    const Cancellation& cancellation_;
    const Checksum base_;
    std::vector<std::string> directories_;
    std::string names_;
    std::vector<File> files_;            // by object, each object's in the order of the tree
    std::vector<Checksum> chunk_files_;  // sorted
};

}  // namespace imaged
