// SPDX-License-Identifier: Apache-2.0
// Compares two versions of an image in terms of a system: packages, kernels, files of /etc. Reads only, and takes no
// lock.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "oci/image-reference.hpp"
#include "source/layer-source.hpp"
#include "source/proxy/source-image.hpp"
#include "store/catalog/file-comparison.hpp"
#include "store/catalog/tree-contents.hpp"

namespace imaged {

struct ChangesRequest {
    std::string repository;
    // Its current version is the newer one, or with UPDATE the update that waits for it.
    ImageReference image;
    bool update = false;
    // The older one, of which one may be given: another image; a kept version, by its digest or the beginning of it; a
    // commit that an image, a kept version or a deployment has. By default the current version for an update, else the
    // version that was current last.
    std::optional<ImageReference> from;
    std::optional<std::string> digest, commit;
};

// One of the two versions. An update that is not pulled has no commit; a commit that is no image has no digest.
struct VersionSide {
    std::optional<std::string> digest, version, commit;
};

struct ImageChanges {
    VersionSide from, to;
    // Why no more is known: the update has to be pulled first. What follows is empty then.
    std::optional<std::string> unknown;
    std::vector<std::string> kernels_added, kernels_removed;
    std::size_t packages_from = 0, packages_to = 0;
    // Lacks the packages of a format if a database of this format could not be read on one side or both.
    PackageChanges packages;
    std::vector<UnreadDatabase> unread_from, unread_to;
    FileChanges etc;
    bool etc_unknown = false;  // the newer version's /etc cannot be compared before the pull
};

// An update that a check has just found.
struct FoundUpdate {
    const SourceImage& image;
    const std::vector<std::optional<Checksum>>& present;  // the commits of the layers that the repository has
    LayerSource& layers;                                  // at the source
};

// What UPDATE brings to the image that is stored as STORED in the repository at the path REPOSITORY. If the repository
// has not its tree, the package databases are read at the source where that can be done without a layer
// (update-tree.hpp); otherwise `unknown` says why not. Throws Error(not_found), Error(repository_damaged) and
// Error(cancelled).
ImageChanges find_update_changes(const std::string& repository, const ImageReference& stored, const FoundUpdate& update,
                                 const Cancellation& cancellation);

// Throws Error(not_found) for an image, a version, a commit or an update that is not there, Error(invalid_argument) for
// what contradicts itself, Error(repository_damaged) and Error(cancelled).
ImageChanges find_changes(const ChangesRequest& request, const Cancellation& cancellation);

}  // namespace imaged
