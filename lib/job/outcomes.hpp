// SPDX-License-Identifier: Apache-2.0
// What jobs of each kind find or do: the outcome of each, as the interface documents it (dbus/org.imaged1.Manager.xml).
// The C++ type decides the D-Bus type: std::uint32_t is u, std::uint64_t t, a list of structs aa{sv}; an empty
// std::optional is absent. Plain values; the order is that in which imagectl prints them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace imaged::job {

// Layer to path to number of entries that a commit does not keep.
using FilteredPaths = std::map<std::string, std::map<std::string, std::uint32_t>>;

// A layer of an image that is at its source or stored. SIZE is that of the compressed blob.
struct LayerSummary {
    std::string digest;
    std::uint64_t size = 0;
    std::string kind;
    bool present = false;
    std::optional<std::string> created_by;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("digest", self.digest);
        fields("size", self.size);
        fields("kind", self.kind);
        fields("present", self.present);
        fields("created-by", self.created_by);
    }
};

struct PrepareOutcome {
    std::string image, digest;
    std::optional<std::string> previous_digest;
    std::string image_id;
    std::optional<std::string> previous_image_id, architecture, os;
    bool up_to_date = false;
    std::optional<std::string> version;
    std::string layout, signature_policy;
    std::vector<LayerSummary> layers;
    std::uint32_t layers_present = 0, layers_missing = 0;
    std::uint64_t bytes_to_fetch = 0;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("previous-digest", self.previous_digest);
        fields("image-id", self.image_id);
        fields("previous-image-id", self.previous_image_id);
        fields("architecture", self.architecture);
        fields("os", self.os);
        fields("up-to-date", self.up_to_date);
        fields("version", self.version);
        fields("layout", self.layout);
        fields("signature-policy", self.signature_policy);
        fields("layers", self.layers);
        fields("layers-present", self.layers_present);
        fields("layers-missing", self.layers_missing);
        fields("bytes-to-fetch", self.bytes_to_fetch);
    }
};

// Of all kinds that store an image.
struct PullOutcome {
    std::string image, digest;
    std::optional<std::string> previous_digest;
    std::string image_id;
    std::optional<std::string> architecture, os;
    bool changed = false;
    std::string commit, merge_commit;
    std::optional<std::string> base_commit, version;
    std::uint32_t layers = 0, layers_fetched = 0;
    std::uint64_t bytes_fetched = 0, bytes_reused = 0, objects_written = 0, objects_reused = 0, bytes_written = 0;
    FilteredPaths filtered;
    std::uint64_t special_files_dropped = 0, names_dropped = 0, attributes_dropped = 0;
    std::vector<std::string> layers_dropped;
    std::uint64_t relabelled = 0;
    std::string signature_policy;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("previous-digest", self.previous_digest);
        fields("image-id", self.image_id);
        fields("architecture", self.architecture);
        fields("os", self.os);
        fields("changed", self.changed);
        fields("commit", self.commit);
        fields("merge-commit", self.merge_commit);
        fields("base-commit", self.base_commit);
        fields("version", self.version);
        fields("layers", self.layers);
        fields("layers-fetched", self.layers_fetched);
        fields("bytes-fetched", self.bytes_fetched);
        fields("bytes-reused", self.bytes_reused);
        fields("objects-written", self.objects_written);
        fields("objects-reused", self.objects_reused);
        fields("bytes-written", self.bytes_written);
        fields("filtered", self.filtered);
        fields("special-files-dropped", self.special_files_dropped);
        fields("names-dropped", self.names_dropped);
        fields("attributes-dropped", self.attributes_dropped);
        fields("layers-dropped", self.layers_dropped);
        fields("relabelled", self.relabelled);
        fields("signature-policy", self.signature_policy);
    }
};

struct CopyOutcome {
    std::string image, repository, digest;
    std::optional<std::string> previous_digest;
    bool changed = false;
    std::string commit, merge_commit;
    std::optional<std::string> base_commit, version;
    std::uint32_t layers = 0;
    std::uint64_t objects_linked = 0, objects_reflinked = 0, objects_copied = 0, objects_present = 0;
    std::uint64_t bytes_copied = 0;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("repository", self.repository);
        fields("digest", self.digest);
        fields("previous-digest", self.previous_digest);
        fields("changed", self.changed);
        fields("commit", self.commit);
        fields("merge-commit", self.merge_commit);
        fields("base-commit", self.base_commit);
        fields("version", self.version);
        fields("layers", self.layers);
        fields("objects-linked", self.objects_linked);
        fields("objects-reflinked", self.objects_reflinked);
        fields("objects-copied", self.objects_copied);
        fields("objects-present", self.objects_present);
        fields("bytes-copied", self.bytes_copied);
    }
};

struct ExportOutcome {
    std::string image, destination, digest, original_digest;
    bool digest_kept = false;
    std::uint32_t layers = 0, layers_kept = 0;
    std::uint64_t bytes_written = 0;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("destination", self.destination);
        fields("digest", self.digest);
        fields("original-digest", self.original_digest);
        fields("digest-kept", self.digest_kept);
        fields("layers", self.layers);
        fields("layers-kept", self.layers_kept);
        fields("bytes-written", self.bytes_written);
    }
};

struct CheckOutcome {
    std::string image, digest;
    bool update_available = false;
    std::optional<std::string> update_digest, update_version, signature_policy;
    std::optional<std::uint32_t> layers_missing;
    std::optional<std::uint64_t> bytes_to_fetch;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("update-available", self.update_available);
        fields("update-digest", self.update_digest);
        fields("update-version", self.update_version);
        fields("signature-policy", self.signature_policy);
        fields("layers-missing", self.layers_missing);
        fields("bytes-to-fetch", self.bytes_to_fetch);
    }
};

// Of an image that has one.
struct WaitingUpdate {
    std::string image, digest, update_digest;
    std::optional<std::string> update_version;
    std::uint32_t layers_missing = 0;
    std::uint64_t bytes_to_fetch = 0;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("update-digest", self.update_digest);
        fields("update-version", self.update_version);
        fields("layers-missing", self.layers_missing);
        fields("bytes-to-fetch", self.bytes_to_fetch);
    }
};

// An image that could not be checked. ERROR_NAME is the full D-Bus name, of a check for updates only.
struct UncheckedImage {
    std::string image;
    std::optional<std::string> error_name;
    std::string error;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("error-name", self.error_name);
        fields("error", self.error);
    }
};

struct CheckImagesOutcome {
    bool all = false;
    std::uint64_t images_checked = 0;
    std::vector<WaitingUpdate> updates;
    std::vector<UncheckedImage> unchecked;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("all", self.all);
        fields("images-checked", self.images_checked);
        fields("updates", self.updates);
        fields("unchecked", self.unchecked);
    }
};

struct RemovedImage {
    std::string image;
    std::optional<std::string> digest;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
    }
};

struct RemoveOutcome {
    std::vector<RemovedImage> removed;
    std::vector<std::string> missing, layers_dropped;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("removed", self.removed);
        fields("missing", self.missing);
        fields("layers-dropped", self.layers_dropped);
    }
};

struct RollbackOutcome {
    std::string image, digest;
    std::optional<std::string> previous_digest;
    std::string commit, merge_commit;
    std::optional<std::string> base_commit, version;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("previous-digest", self.previous_digest);
        fields("commit", self.commit);
        fields("merge-commit", self.merge_commit);
        fields("base-commit", self.base_commit);
        fields("version", self.version);
    }
};

struct ImageError {
    std::string image, error;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("error", self.error);
    }
};

struct PruneOutcome {
    bool dry_run = false;
    std::uint64_t bytes = 0, objects = 0, commits = 0, objects_total = 0, foreign_commits = 0;
    std::vector<std::string> layers_dropped;
    std::vector<ImageError> damaged;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("dry-run", self.dry_run);
        fields("bytes", self.bytes);
        fields("objects", self.objects);
        fields("commits", self.commits);
        fields("objects-total", self.objects_total);
        fields("foreign-commits", self.foreign_commits);
        fields("layers-dropped", self.layers_dropped);
        fields("damaged", self.damaged);
    }
};

struct Problem {
    std::string kind, message;
    std::optional<std::string> object, layer, ref, path;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("kind", self.kind);
        fields("message", self.message);
        fields("object", self.object);
        fields("layer", self.layer);
        fields("ref", self.ref);
        fields("path", self.path);
    }
};

struct DamagedImage {
    std::string image;
    std::optional<std::string> digest;
    std::uint64_t problem_count = 0;
    std::vector<Problem> problems;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("problem-count", self.problem_count);
        fields("problems", self.problems);
    }
};

struct DamagedLayer {
    std::string digest, error;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("digest", self.digest);
        fields("error", self.error);
    }
};

// A version that is kept beside the current one.
struct DamagedVersion {
    std::string image, digest, error;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("error", self.error);
    }
};

struct Note {
    std::string image, message;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("message", self.message);
    }
};

struct UnverifiedImage {
    std::string image;
    std::optional<std::string> error;
    std::vector<std::string> layers;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("error", self.error);
        fields("layers", self.layers);
    }
};

struct RefetchedImage {
    std::string image;
    std::uint32_t layers_fetched = 0;
    std::uint64_t bytes_fetched = 0;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("layers-fetched", self.layers_fetched);
        fields("bytes-fetched", self.bytes_fetched);
    }
};

struct RepairedImage {
    std::string image, digest;
    std::optional<std::string> previous_digest;
    std::uint32_t layers_fetched = 0;
    std::uint64_t bytes_fetched = 0;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("previous-digest", self.previous_digest);
        fields("layers-fetched", self.layers_fetched);
        fields("bytes-fetched", self.bytes_fetched);
    }
};

struct VerifyOutcome {
    bool sound = false;
    std::uint64_t images_checked = 0, objects_checked = 0, bytes_checked = 0;
    std::vector<DamagedImage> damaged;
    std::vector<DamagedLayer> damaged_layers;
    std::vector<DamagedVersion> damaged_kept;
    std::vector<std::string> missing;
    std::vector<Note> notes;
    std::vector<UnverifiedImage> unverified;
    std::optional<std::vector<RefetchedImage>> refetched;  // with a repair only, like the next two
    std::optional<std::vector<RepairedImage>> repaired;
    std::optional<std::vector<ImageError>> unrepaired;
    std::optional<std::vector<UncheckedImage>> unchecked;  // images whose merge could not be computed
    std::optional<std::string> not_recorded;
    std::vector<std::string> warnings;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("sound", self.sound);
        fields("images-checked", self.images_checked);
        fields("objects-checked", self.objects_checked);
        fields("bytes-checked", self.bytes_checked);
        fields("damaged", self.damaged);
        fields("damaged-layers", self.damaged_layers);
        fields("damaged-kept", self.damaged_kept);
        fields("missing", self.missing);
        fields("notes", self.notes);
        fields("unverified", self.unverified);
        fields("refetched", self.refetched);
        fields("repaired", self.repaired);
        fields("unrepaired", self.unrepaired);
        fields("unchecked", self.unchecked);
        fields("not-recorded", self.not_recorded);
        fields("warnings", self.warnings);
    }
};

}  // namespace imaged::job
