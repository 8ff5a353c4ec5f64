// SPDX-License-Identifier: Apache-2.0
// The kinds of jobs: what each is asked for, what follows from its kind, and what it finds, as the interface documents
// it (dbus/org.imaged1.Manager.xml). A new kind is added to Work (docs/adding-a-verb.md). Plain values.
//
// The C++ type of a member decides its D-Bus type: std::uint32_t is u, std::uint64_t t, a list of structs aa{sv}; an
// empty std::optional is absent. The order of an outcome's members is that in which imagectl prints them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "job/settings.hpp"
#include "oci/digest.hpp"
#include "oci/image-reference.hpp"

namespace imaged::job {

// The changes that the publisher (daemon/worker/publisher.hpp) makes to the repository for a confined job of the kind.
enum class Publishing {
    none,      // there is no such process: the job changes the repository itself
    scratch,   // a directory for its files
    metadata,  // and detached metadata of a stored image
    verdict,   // and what a verification found
    usage,     // and what a count of disk usage found
    image,     // and objects, layers and the ref of its image
};

// Properties that all jobs of a kind have.
struct Traits {
    std::string_view name;  // on the bus and in the journal
    // The polkit action that must be allowed, org.imaged1.ACTION; absent if anybody may ask for the job.
    std::optional<std::string_view> action = {};
    bool only_reads = false;    // changes nothing but what is known of an image: such jobs wait for no others
    bool reads_image = false;   // opens its image where it comes from
    bool stores_image = false;  // and keeps it: whether it needs a signature is a question
    bool takes_authfile = false;
    bool takes_place = false;  // may open a path that the caller names, who may show what is there (option place)
    Publishing publishing = Publishing::none;
    // Whether an update or damage may be known after it that was not known before, so that imaged counts them again.
    // After other kinds it does so only if it counted any.
    bool recounts = true;
};

// Compression of the layers of an export.
enum class LayerCompression { gzip, zstd, zstd_chunked, none };
constexpr auto names_of(LayerCompression) {
    return enum_names<LayerCompression>({{LayerCompression::gzip, "gzip"},
                                         {LayerCompression::zstd, "zstd"},
                                         {LayerCompression::zstd_chunked, "zstd:chunked"},
                                         {LayerCompression::none, "none"}});
}

// Whether layers may be made by a delta.
enum class DeltaUse { automatic, never };
constexpr auto names_of(DeltaUse) {
    return enum_names<DeltaUse>({{DeltaUse::automatic, "auto"}, {DeltaUse::never, "never"}});
}

// Layer to path to number of entries that a commit does not keep.
using FilteredPaths = std::map<std::string, std::map<std::string, std::uint32_t>>;

// A layer of an image that is at its source or stored. SIZE is that of the compressed blob.
struct LayerSummary {
    std::string digest;
    std::uint64_t size = 0;
    std::string kind;
    bool present = false;
    std::optional<std::string> created_by;

    static void fields(auto& self, auto& fields) {
        fields("digest", self.digest);
        fields("size", self.size);
        fields("kind", self.kind);
        fields("present", self.present);
        fields("created-by", self.created_by);
    }
};

// Keys of outcomes that the daemon and imagectl look at whatever the kind.
namespace key {
inline constexpr const char* image = "image";
inline constexpr const char* digest = "digest";
inline constexpr const char* signature_policy = "signature-policy";
inline constexpr const char* bytes_fetched = "bytes-fetched";
inline constexpr const char* bytes_reused = "bytes-reused";
inline constexpr const char* bytes_saved = "bytes-saved";
inline constexpr const char* update_available = "update-available";
inline constexpr const char* updates = "updates";
inline constexpr const char* changes = "changes";
inline constexpr const char* truncated = "truncated";  // beside those of every kind (Result::details in job/job.hpp)
}  // namespace key

// Each kind: first its outcome, what a job of it finds or does, then what it is asked for. In requests, `image` is a
// reference with its signature source, and names in `images` and `target` have none. What the caller gives as an option
// of the method is listed with option(), under the option's name.

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

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields(key::digest, self.digest);
        fields("previous-digest", self.previous_digest);
        fields("image-id", self.image_id);
        fields("previous-image-id", self.previous_image_id);
        fields("architecture", self.architecture);
        fields("os", self.os);
        fields("up-to-date", self.up_to_date);
        fields("version", self.version);
        fields("layout", self.layout);
        fields(key::signature_policy, self.signature_policy);
        fields("layers", self.layers);
        fields("layers-present", self.layers_present);
        fields("layers-missing", self.layers_missing);
        fields("bytes-to-fetch", self.bytes_to_fetch);
    }
};

struct Prepare {
    static constexpr Traits traits{
        .name = "prepare", .only_reads = true, .reads_image = true, .takes_authfile = true, .takes_place = true};
    using Outcome = PrepareOutcome;

    ImageReference image;
    std::optional<ImageReference> target;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields.option("target", self.target);
    }
    bool operator==(const Prepare&) const = default;
};

// The outcome of all kinds that store an image.
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
    std::uint64_t objects_reflinked = 0;
    FilteredPaths filtered;
    std::uint64_t special_files_dropped = 0, names_dropped = 0, attributes_dropped = 0;
    std::vector<std::string> layers_dropped;
    std::uint64_t relabelled = 0;
    std::string signature_policy;
    std::uint32_t layers_partial = 0;
    std::uint64_t bytes_saved = 0;
    std::vector<std::string> fetched_whole;
    std::optional<std::string> delta;
    std::uint32_t delta_layers = 0;
    std::uint64_t delta_bytes = 0;

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields(key::digest, self.digest);
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
        fields(key::bytes_fetched, self.bytes_fetched);
        fields(key::bytes_reused, self.bytes_reused);
        fields("objects-written", self.objects_written);
        fields("objects-reused", self.objects_reused);
        fields("bytes-written", self.bytes_written);
        fields("objects-reflinked", self.objects_reflinked);
        fields("filtered", self.filtered);
        fields("special-files-dropped", self.special_files_dropped);
        fields("names-dropped", self.names_dropped);
        fields("attributes-dropped", self.attributes_dropped);
        fields("layers-dropped", self.layers_dropped);
        fields("relabelled", self.relabelled);
        fields(key::signature_policy, self.signature_policy);
        fields("layers-partial", self.layers_partial);
        fields(key::bytes_saved, self.bytes_saved);
        fields("fetched-whole", self.fetched_whole);
        fields("delta", self.delta);
        fields("delta-layers", self.delta_layers);
        fields("delta-bytes", self.delta_bytes);
    }
};

// What Import and Pull have in common: all but the name, which is that of their action as well.
constexpr Traits fetching(std::string_view name) {
    return {.name = name,
            .action = name,
            .reads_image = true,
            .stores_image = true,
            .takes_authfile = true,
            .takes_place = true,
            .publishing = Publishing::image,
            .recounts = false};
}

struct FetchedImage {
    using Outcome = PullOutcome;

    ImageReference image;
    std::optional<Digest> digest;          // what the source must serve; never empty for Import
    std::optional<ImageReference> target;  // the name to store it under, where that is another one
    bool any_architecture = false;
    DeltaUse delta = DeltaUse::automatic;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields.option("digest", self.digest);
        fields.option("target", self.target);
        fields.option("any-architecture", self.any_architecture);
        fields.option("delta", self.delta);
    }
    bool operator==(const FetchedImage&) const = default;
};

struct Import : FetchedImage {
    static constexpr Traits traits = fetching("import");
};

struct Pull : FetchedImage {
    static constexpr Traits traits = fetching("pull");
};

// The archive is Request::input_file.
struct ImportArchive {
    static constexpr Traits traits{.name = "import-archive",
                                   .action = "import",
                                   .stores_image = true,
                                   .publishing = Publishing::image,
                                   .recounts = false};
    using Outcome = PullOutcome;

    ImageReference image;             // the name to store it under
    std::optional<std::string> name;  // which of several images
    std::optional<Digest> digest;
    bool any_architecture = false;
    DeltaUse delta = DeltaUse::automatic;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields.option("name", self.name);
        fields.option("digest", self.digest);
        fields.option("any-architecture", self.any_architecture);
        fields.option("delta", self.delta);
    }
    bool operator==(const ImportArchive&) const = default;
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

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields("repository", self.repository);
        fields(key::digest, self.digest);
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

struct Copy {
    static constexpr Traits traits{.name = "copy", .action = "copy", .takes_place = true};
    using Outcome = CopyOutcome;

    ImageReference image;
    std::string repository;  // absolute path of the other one
    bool from = false;       // from there into imaged's own
    std::optional<ImageReference> target;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("repository", self.repository);
        fields.option("from", self.from);
        fields.option("target", self.target);
    }
    bool operator==(const Copy&) const = default;
};

struct ExportOutcome {
    std::string image, destination, digest, original_digest;
    bool digest_kept = false;
    std::uint32_t layers = 0, layers_kept = 0;
    std::uint64_t bytes_written = 0;
    // The image that a delta starts from. This member and the next three are for deltas only.
    std::optional<std::string> delta_from;
    std::optional<std::uint32_t> layers_made, layers_whole;
    std::optional<std::uint64_t> bytes_replaced;

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields("destination", self.destination);
        fields(key::digest, self.digest);
        fields("original-digest", self.original_digest);
        fields("digest-kept", self.digest_kept);
        fields("layers", self.layers);
        fields("layers-kept", self.layers_kept);
        fields("bytes-written", self.bytes_written);
        fields("delta-from", self.delta_from);
        fields("layers-made", self.layers_made);
        fields("layers-whole", self.layers_whole);
        fields("bytes-replaced", self.bytes_replaced);
    }
};

struct Export {
    static constexpr Traits traits{.name = "export",
                                   .action = "export",
                                   .takes_authfile = true,
                                   .takes_place = true,
                                   .publishing = Publishing::scratch,
                                   .recounts = false};
    using Outcome = ExportOutcome;

    ImageReference image;
    ImageReference destination;
    LayerCompression compression = LayerCompression::gzip;
    // A stored image: a delta is made from it to the image, which is read at its source and need not be stored.
    std::optional<ImageReference> delta_from;
    bool compatible = false;  // a delta for older programs

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("destination", self.destination);
        fields.option("compression", self.compression);
        fields.option("delta-from", self.delta_from);
        fields.option("compatible", self.compatible);
    }
    bool operator==(const Export&) const = default;
};

// A package that differs between two trees. FROM is absent if it was added, TO if it was removed.
struct PackageChange {
    std::string name;
    std::optional<std::string> architecture;
    std::string format;
    std::optional<std::string> from, to;

    static void fields(auto& self, auto& fields) {
        fields("name", self.name);
        fields("architecture", self.architecture);
        fields("format", self.format);
        fields("from", self.from);
        fields("to", self.to);
    }
};

// A package database that could not be read. SIDE is "from" or "to".
struct UnreadPackages {
    std::string side, path, error;

    static void fields(auto& self, auto& fields) {
        fields("side", self.side);
        fields("path", self.path);
        fields("error", self.error);
    }
};

struct ChangesOutcome {
    std::string image;
    std::optional<std::string> from_digest, from_version, from_commit, to_digest, to_version, to_commit;
    std::optional<std::string> unknown;
    std::vector<std::string> kernels_added, kernels_removed;
    std::uint32_t packages_from = 0, packages_to = 0;
    std::uint32_t changed_total = 0, added_total = 0, removed_total = 0;
    std::vector<PackageChange> packages_changed, packages_added, packages_removed;
    std::vector<UnreadPackages> packages_unread;
    std::vector<std::string> etc_changed, etc_added, etc_removed;
    bool etc_truncated = false;  // there are more
    bool etc_unknown = false;    // of an update that is not pulled

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields("from-digest", self.from_digest);
        fields("from-version", self.from_version);
        fields("from-commit", self.from_commit);
        fields("to-digest", self.to_digest);
        fields("to-version", self.to_version);
        fields("to-commit", self.to_commit);
        fields("unknown", self.unknown);
        fields("kernels-added", self.kernels_added);
        fields("kernels-removed", self.kernels_removed);
        fields("packages-from", self.packages_from);
        fields("packages-to", self.packages_to);
        fields("changed-total", self.changed_total);
        fields("added-total", self.added_total);
        fields("removed-total", self.removed_total);
        fields("packages-changed", self.packages_changed);
        fields("packages-added", self.packages_added);
        fields("packages-removed", self.packages_removed);
        fields("packages-unread", self.packages_unread);
        fields("etc-changed", self.etc_changed);
        fields("etc-added", self.etc_added);
        fields("etc-removed", self.etc_removed);
        fields("etc-truncated", self.etc_truncated);
        fields("etc-unknown", self.etc_unknown);
    }
};

struct CheckOutcome {
    std::string image, digest;
    bool update_available = false;
    std::optional<std::string> update_digest, update_version, signature_policy;
    std::optional<std::uint32_t> layers_missing;
    std::optional<std::uint64_t> bytes_to_fetch;
    std::optional<ChangesOutcome> changes;

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields(key::digest, self.digest);
        fields(key::update_available, self.update_available);
        fields("update-digest", self.update_digest);
        fields("update-version", self.update_version);
        fields(key::signature_policy, self.signature_policy);
        fields("layers-missing", self.layers_missing);
        fields("bytes-to-fetch", self.bytes_to_fetch);
        fields(key::changes, self.changes);
    }
};

struct Check {
    static constexpr Traits traits{.name = "check",
                                   .action = "check",
                                   .only_reads = true,
                                   .reads_image = true,
                                   .takes_authfile = true,
                                   .publishing = Publishing::metadata};
    using Outcome = CheckOutcome;

    ImageReference image;
    std::optional<ImageReference> target;
    bool packages = false;  // also what an update brings, as far as that can be had

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields.option("target", self.target);
        fields.option("packages", self.packages);
    }
    bool operator==(const Check&) const = default;
};

// Reads stored trees, whose package databases are the images' own.
struct Changes {
    static constexpr Traits traits{.name = "changes", .only_reads = true};
    using Outcome = ChangesOutcome;

    ImageReference image;
    bool update = false;                 // its update is the newer version
    std::optional<ImageReference> from;  // the older version: another image,
    std::optional<std::string> version;  // a kept version, or the beginning of its digest,
    std::optional<std::string> commit;   // or the commit of an image or of a deployment

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields.option("update", self.update);
        fields.option("from", self.from);
        fields.option("digest", self.version);
        fields.option("commit", self.commit);
    }
    bool operator==(const Changes&) const = default;
};

// An image with an update that is not pulled yet.
struct WaitingUpdate {
    std::string image, digest, update_digest;
    std::optional<std::string> update_version;
    std::uint32_t layers_missing = 0;
    std::uint64_t bytes_to_fetch = 0;
    std::optional<ChangesOutcome> changes;

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields(key::digest, self.digest);
        fields("update-digest", self.update_digest);
        fields("update-version", self.update_version);
        fields("layers-missing", self.layers_missing);
        fields("bytes-to-fetch", self.bytes_to_fetch);
        fields(key::changes, self.changes);
    }
};

// An image that could not be checked. ERROR_NAME is the full D-Bus name, of a check for updates only.
struct UncheckedImage {
    std::string image;
    std::optional<std::string> error_name;
    std::string error;

    static void fields(auto& self, auto& fields) {
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

    static void fields(auto& self, auto& fields) {
        fields("all", self.all);
        fields("images-checked", self.images_checked);
        fields(key::updates, self.updates);
        fields("unchecked", self.unchecked);
    }
};

// A worker does Check for each image (daemon/jobs/check-round.hpp).
struct CheckImages {
    static constexpr Traits traits{.name = "check-images", .action = "check", .only_reads = true};
    using Outcome = CheckImagesOutcome;

    std::vector<ImageReference> images;  // none for all
    bool packages = false;               // as of Check

    static void fields(auto& self, auto& fields) {
        fields("images", self.images);
        fields.option("packages", self.packages);
    }
    bool operator==(const CheckImages&) const = default;
};

struct RemovedImage {
    std::string image;
    std::optional<std::string> digest;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
    }
};

struct RemoveOutcome {
    std::vector<RemovedImage> removed;
    std::vector<std::string> missing, layers_dropped;

    static void fields(auto& self, auto& fields) {
        fields("removed", self.removed);
        fields("missing", self.missing);
        fields("layers-dropped", self.layers_dropped);
    }
};

struct Remove {
    static constexpr Traits traits{.name = "remove", .action = "remove", .recounts = false};
    using Outcome = RemoveOutcome;

    // Empty only within the worker: the job removes the layers that no image uses (daemon/worker/publisher.hpp).
    std::vector<ImageReference> images;

    static void fields(auto& self, auto& fields) { fields("images", self.images); }
    bool operator==(const Remove&) const = default;
};

struct RollbackOutcome {
    std::string image, digest;
    std::optional<std::string> previous_digest;
    std::string commit, merge_commit;
    std::optional<std::string> base_commit, version;

    static void fields(auto& self, auto& fields) {
        fields(key::image, self.image);
        fields(key::digest, self.digest);
        fields("previous-digest", self.previous_digest);
        fields("commit", self.commit);
        fields("merge-commit", self.merge_commit);
        fields("base-commit", self.base_commit);
        fields("version", self.version);
    }
};

struct Rollback {
    static constexpr Traits traits{.name = "rollback", .action = "rollback"};
    using Outcome = RollbackOutcome;

    ImageReference image;
    // Digest of the version to return to, or the beginning of it (default: the version before the current one).
    std::optional<std::string> version;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields.option("digest", self.version);
    }
    bool operator==(const Rollback&) const = default;
};

struct ImageError {
    std::string image, error;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("error", self.error);
    }
};

struct PruneOutcome {
    bool dry_run = false;
    std::uint64_t bytes = 0, objects = 0, commits = 0, objects_total = 0, foreign_commits = 0;
    std::vector<std::string> layers_dropped;
    std::vector<ImageError> damaged;
    std::vector<std::string> warnings;

    static void fields(auto& self, auto& fields) {
        fields("dry-run", self.dry_run);
        fields("bytes", self.bytes);
        fields("objects", self.objects);
        fields("commits", self.commits);
        fields("objects-total", self.objects_total);
        fields("foreign-commits", self.foreign_commits);
        fields("layers-dropped", self.layers_dropped);
        fields("damaged", self.damaged);
        fields("warnings", self.warnings);
    }
};

struct Prune {
    static constexpr Traits traits{.name = "prune", .action = "prune", .recounts = false};
    using Outcome = PruneOutcome;

    bool dry_run = false;
    bool foreign_commits = false;

    static void fields(auto& self, auto& fields) {
        fields.option("dry-run", self.dry_run);
        fields.option("foreign-commits", self.foreign_commits);
    }
    bool operator==(const Prune&) const = default;
};

// A user of a part of the repository that is no image.
struct OtherUser {
    std::string kind, name;
    std::uint64_t disk_size = 0, unique_size = 0;

    static void fields(auto& self, auto& fields) {
        fields("kind", self.kind);
        fields("name", self.name);
        fields("disk-size", self.disk_size);
        fields("unique-size", self.unique_size);
    }
};

struct DiskUsageOutcome {
    std::uint32_t images = 0;
    std::uint64_t images_size = 0, images_unique_size = 0;
    std::uint32_t deployments = 0;
    std::uint64_t deployments_size = 0, deployments_unique_size = 0;
    std::uint32_t refs = 0;
    std::uint64_t refs_size = 0, refs_unique_size = 0;
    std::uint64_t foreign_commits = 0, foreign_commits_size = 0, foreign_commits_unique_size = 0;
    std::uint64_t disk_size = 0, objects = 0, prunable_size = 0;
    std::vector<OtherUser> others;
    std::vector<ImageError> damaged;

    static void fields(auto& self, auto& fields) {
        fields("images", self.images);
        fields("images-size", self.images_size);
        fields("images-unique-size", self.images_unique_size);
        fields("deployments", self.deployments);
        fields("deployments-size", self.deployments_size);
        fields("deployments-unique-size", self.deployments_unique_size);
        fields("refs", self.refs);
        fields("refs-size", self.refs_size);
        fields("refs-unique-size", self.refs_unique_size);
        fields("foreign-commits", self.foreign_commits);
        fields("foreign-commits-size", self.foreign_commits_size);
        fields("foreign-commits-unique-size", self.foreign_commits_unique_size);
        fields("disk-size", self.disk_size);
        fields("objects", self.objects);
        fields("prunable-size", self.prunable_size);
        fields("others", self.others);
        fields("damaged", self.damaged);
    }
};

struct DiskUsage {
    static constexpr Traits traits{.name = "disk-usage", .only_reads = true, .publishing = Publishing::usage};
    using Outcome = DiskUsageOutcome;

    static void fields(auto&, auto&) {}
    bool operator==(const DiskUsage&) const = default;
};

struct Problem {
    std::string kind, message;
    std::optional<std::string> object, layer, ref, path;

    static void fields(auto& self, auto& fields) {
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

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("problem-count", self.problem_count);
        fields("problems", self.problems);
    }
};

struct DamagedLayer {
    std::string digest, error;

    static void fields(auto& self, auto& fields) {
        fields("digest", self.digest);
        fields("error", self.error);
    }
};

// A version that is kept beside the current one.
struct DamagedVersion {
    std::string image, digest, error;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("error", self.error);
    }
};

struct Note {
    std::string image, message;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("message", self.message);
    }
};

struct UnverifiedImage {
    std::string image;
    std::optional<std::string> error;
    std::vector<std::string> layers;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("error", self.error);
        fields("layers", self.layers);
    }
};

struct RefetchedImage {
    std::string image;
    std::uint32_t layers_fetched = 0;
    std::uint64_t bytes_fetched = 0;

    static void fields(auto& self, auto& fields) {
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

    static void fields(auto& self, auto& fields) {
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
    std::optional<std::uint64_t> bytes_fetched;  // with a repair only, like the next three
    std::optional<std::vector<RefetchedImage>> refetched;
    std::optional<std::vector<RepairedImage>> repaired;
    std::optional<std::vector<ImageError>> unrepaired;
    std::optional<std::vector<UncheckedImage>> unchecked;  // images whose merge could not be computed
    std::optional<std::string> not_recorded;
    std::vector<std::string> warnings;

    static void fields(auto& self, auto& fields) {
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
        fields(key::bytes_fetched, self.bytes_fetched);
        fields("refetched", self.refetched);
        fields("repaired", self.repaired);
        fields("unrepaired", self.unrepaired);
        fields("unchecked", self.unchecked);
        fields("not-recorded", self.not_recorded);
        fields("warnings", self.warnings);
    }
};

struct Verify {
    static constexpr Traits traits{.name = "verify",
                                   .action = "verify",
                                   .takes_authfile = true,
                                   .takes_place = true,
                                   .publishing = Publishing::verdict};
    using Outcome = VerifyOutcome;

    std::vector<ImageReference> images;  // none for all
    bool repair = false;
    std::optional<ImageReference> source;  // where a repair fetches from, in place of each image's own reference
    bool demand_signature = false;         // of what a repair fetches: the daemon decides

    static void fields(auto& self, auto& fields) {
        fields("images", self.images);
        fields.option("repair", self.repair);
        fields.option("source", self.source);
        fields("signed", self.demand_signature);
    }
    bool operator==(const Verify&) const = default;
};

using Work = std::variant<Prepare, Import, Pull, ImportArchive, Copy, Export, Check, CheckImages, Changes, Remove,
                          Rollback, Prune, DiskUsage, Verify>;

// Calls FUNCTION with a default value of each kind.
template <typename Function, std::size_t... Index>
void for_each_kind(Function&& function, std::index_sequence<Index...>) {
    (function(std::variant_alternative_t<Index, Work>()), ...);
}
template <typename Function>
void for_each_kind(Function&& function) {
    for_each_kind(function, std::make_index_sequence<std::variant_size_v<Work>>());
}

// One job. Two equal requests are the same work.
struct Request {
    Work work;
    std::string repository;  // absolute path
    // Work that nobody waits for: it gives way to other jobs, to metered connections and to batteries.
    bool background = false;
    // Numbers of inherited descriptors, never part of equality: sockets to the keepers of registry credentials and of
    // the file that the caller opened (base/kept-file.hpp), later what the job reads of them.
    std::optional<int> auth_file, input_file;
    // The socket to the publisher, in a confined worker; also a number of a descriptor, but never sent.
    std::optional<int> publisher;
    // The administrator's settings at the time when the job starts; never part of equality.
    Settings settings;

    // The members that are sent beside the work.
    static void fields(auto& self, auto& fields) {
        fields("repository", self.repository);
        fields("background", self.background);
        fields("settings", self.settings);
        fields("auth-file", self.auth_file);
        fields("input-file", self.input_file);
    }
    bool operator==(const Request& other) const {
        return work == other.work && repository == other.repository && background == other.background;
    }

    const Traits& traits() const;
    // The work, if it is of KIND; else null.
    template <typename Kind>
    const Kind* as() const {
        return std::get_if<Kind>(&work);
    }
    // The image that the job is about; null if the kind has none or several.
    const ImageReference* image() const;
    // The same in canonical form.
    std::optional<std::string> image_name() const;
    // The images that the job is about, if its kind has several; else null.
    const std::vector<ImageReference>* images() const;
    // The name that the job stores its image under, if that is another one.
    const std::optional<ImageReference>* target() const;
    // The name that the image has in the repository: the target if there is one. Null as image() is.
    const ImageReference* stored_image() const;
    // Whether the job may reach a registry.
    bool may_use_network() const;
};

struct Result;  // job.hpp
// Drops from RESULT the changed images and found updates that a job like REQUEST cannot have: a worker that an image
// has taken over may name any.
void keep_own_news(Result& result, const Request& request);

// One line, newline included. Throws Error(invalid_argument) for what is not UTF-8.
std::string encode(const Request& request);
// Throws Error(failed) naming what is wrong with LINE, Error(invalid_reference) or Error(corrupt_input).
Request decode_request(std::string_view line);

}  // namespace imaged::job
