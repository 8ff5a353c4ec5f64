// SPDX-License-Identifier: Apache-2.0
// Counts the parts of a layer, or of all layers of an image, that could not be stored. Commits of layers and of images
// have the counts that are not 0 in "imaged.dropped", a{st}: "special-files", "names" and "attributes".
#pragma once

#include <cstdint>

#include "store/repository/repository.hpp"

namespace imaged {

struct DroppedCounts {
    std::uint64_t special_files = 0;  // devices, fifos, sockets, and hard links to what no layer keeps
    std::uint64_t names = 0;          // names and targets that are not UTF-8
    std::uint64_t attributes = 0;     // see storable-xattrs.hpp

    // Reads the counts in the metadata of COMMIT.
    static DroppedCounts read(const Repository::Commit& commit);
    DroppedCounts& operator+=(const DroppedCounts& more);
    // Adds the counts to METADATA, an a{sv}.
    void write(GVariantBuilder& metadata) const;
};

}  // namespace imaged
