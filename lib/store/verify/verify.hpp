// SPDX-License-Identifier: Apache-2.0
// Checks stored images against their digests: refs, metadata, every reachable object, and the merge, which is computed
// again from the layers.
//
// Takes three passes: directories are walked and checked, each once; then file objects are hashed, several at a time,
// in the order in which they lie on disk; then, only if there is damage, the layers and images are searched to which it
// belongs. Memory grows with eight bytes an object.
//
// The caller holds the repository's lock. Objects of a parent repository are looked for, not hashed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "base/enum-names.hpp"
#include "oci/image-reference.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/repository.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

enum class DamageKind {
    ref,       // missing, invalid, or another layer's
    metadata,  // manifest, config and layers do not belong together
    object,    // missing, unreadable, or with another content than its name says
    merge,     // the merged tree is not what the layers give
};
constexpr auto names_of(DamageKind) {
    return enum_names<DamageKind>({{DamageKind::ref, "ref"},
                                   {DamageKind::metadata, "metadata"},
                                   {DamageKind::object, "object"},
                                   {DamageKind::merge, "merge"}});
}

struct Damage {
    DamageKind kind;
    std::string message;
    std::optional<std::string> ref = {};     // of kind ref
    std::optional<Digest> layer = {};        // that it belongs to; nullopt for the image's own
    std::optional<std::string> object = {};  // CHECKSUM.TYPE, of kind object
    std::optional<std::string> path = {};    // in the image, where that is known
};

struct ImageVerdict {
    std::string image;
    std::optional<Checksum> commit = {};     // what the ref names; nullopt if it is broken or unreadable
    std::optional<StoredImage> stored = {};  // unless its metadata is damaged
    std::vector<Damage> damage = {};         // the first of them; empty for a sound image
    std::uint64_t damage_count = 0;          // all of them
    // The image's own commit and those of its layers, if they contain a damaged object that is not missing
    // (damage-record.hpp).
    std::vector<Checksum> damaged_commits;
    std::vector<std::string> notes;        // worth knowing, and no damage
    std::optional<std::string> unchecked;  // why something could not be read or merged
    // Digests of layers that this program has no record of having verified: another program or another repository
    // brought them, or a version of this program that kept no such record.
    std::vector<Digest> unverified;
};

// A version that is kept beside the current one (kept-ref.hpp) and cannot be rolled back to as it is.
struct DamagedVersion {
    std::string image;
    std::optional<Digest> digest;  // if its manifest can be read
    std::string ref;
    std::string error;        // the first fault
    bool unreadable = false;  // the system failed to read it: it may be whole
    bool dropped = false;     // by a repair
};

struct Verdict {
    std::vector<ImageVerdict> images;
    std::vector<DamagedVersion> kept;     // of those images
    std::vector<ImageReference> missing;  // asked for and not stored
    UnreadableRefs unreadable;            // refs of others than images
    // Layers that no image uses and that are damaged, by digest, and why: prune removes them.
    std::map<std::string, std::string> unused_layers;
    // Everything that is wrong, CHECKSUM.TYPE, and how.
    std::map<std::string, std::string> bad_objects;
    std::vector<Checksum> marked;          // whole commits that libostree takes for partial (partial-mark.hpp)
    std::vector<std::string> warnings;     // about the repository as a whole, no damage
    std::uint64_t objects = 0, bytes = 0;  // that were checked; bytes of file objects, as they are stored
};

// IMAGES, or all of them and all layers where it is empty.
Verdict verify_images(const Repository& repository, const std::vector<ImageReference>& images,
                      const Cancellation& cancellation, WorkObserver& observer);

}  // namespace imaged
