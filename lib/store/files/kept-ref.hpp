// SPDX-License-Identifier: Apache-2.0
// The refs of kept versions: versions of an image that were replaced and that a rollback can restore. Each has a ref of
// its own, imaged/kept/IMAGE/version.N, which names its merge commit. IMAGE is escaped as in the image's ref; of two
// versions the one with the higher N was current later. No escaped name has a dot, so none of these refs is in the way
// of another image's.
//
// Programs that read the store format look for images in ostree/container/image only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "store/files/ref-file.hpp"
#include "store/files/ref-name.hpp"

namespace imaged {

inline constexpr const char* kept_ref_directory = "imaged/kept";
// All directories of refs that imaged writes.
inline constexpr std::array own_ref_directories{image_ref_directory, kept_ref_directory, layer_ref_directory,
                                                derived_ref_directory, objects_ref_directory};

struct KeptRef {
    std::string ref;
    std::uint64_t number = 0;        // the N of its name
    std::optional<Checksum> commit;  // nullopt if the ref is broken
};

// The refs of the image whose ref is IMAGE_REF, the latest version first. REPOSITORY is the repository's directory.
std::vector<KeptRef> kept_refs(int repository, const std::string& image_ref, UnreadableRefs* unreadable = nullptr);
// REF, which is below kept_ref_directory, taken apart: the ref of its image and N; nullopt if it is none of these.
std::optional<std::pair<std::string, std::uint64_t>> parse_kept_ref(std::string_view ref);

// The ref that must be written before IMAGE_REF names NEXT, so that the version which is current now is kept; nullopt
// if there is none, if it stays current, or if it has that ref already because a job ended between the two.
std::optional<KeptRef> ref_to_keep(int repository, const std::string& image_ref, const Checksum& next);

}  // namespace imaged
