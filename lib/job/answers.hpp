// SPDX-License-Identifier: Apache-2.0
// The answers of the methods that only read: images, deployments and differences, as the interface documents them
// (dbus/org.imaged1.Manager.xml). As in job/kinds.hpp the C++ type decides the D-Bus type. Plain values; the order is
// that in which imagectl prints them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "job/kinds.hpp"

namespace imaged::job {

// A version that an image can be rolled back to.
struct KeptVersionAnswer {
    std::string digest;
    std::optional<std::string> version;
    std::string commit;

    static void fields(auto& self, auto& fields) {
        fields("digest", self.digest);
        fields("version", self.version);
        fields("commit", self.commit);
    }
};

// An image in the answer of ListImages. Most members are empty for an image that cannot be read.
struct ImageAnswer {
    std::string image;
    std::optional<std::string> source;
    std::string state;
    std::optional<std::string> error, digest, commit, merge_commit, base_commit, version;
    std::optional<std::uint64_t> created;
    std::optional<std::uint32_t> layers;
    std::optional<std::uint64_t> size, disk_size, unique_size, shared_size;
    std::optional<std::string> signature_policy, update_digest, architecture, os, image_id;
    std::vector<KeptVersionAnswer> kept;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("source", self.source);
        fields("state", self.state);
        fields("error", self.error);
        fields("digest", self.digest);
        fields("commit", self.commit);
        fields("merge-commit", self.merge_commit);
        fields("base-commit", self.base_commit);
        fields("version", self.version);
        fields("created", self.created);
        fields("layers", self.layers);
        fields("size", self.size);
        fields("disk-size", self.disk_size);
        fields("unique-size", self.unique_size);
        fields("shared-size", self.shared_size);
        fields("signature-policy", self.signature_policy);
        fields("update-digest", self.update_digest);
        fields("architecture", self.architecture);
        fields("os", self.os);
        fields("image-id", self.image_id);
        fields("kept", self.kept);
    }
};

struct LayerAnswer {
    std::string digest;
    std::uint64_t size = 0;
    std::string kind, ref;
    std::optional<std::string> commit, created_by;

    static void fields(auto& self, auto& fields) {
        fields("digest", self.digest);
        fields("size", self.size);
        fields("kind", self.kind);
        fields("ref", self.ref);
        fields("commit", self.commit);
        fields("created-by", self.created_by);
    }
};

// The answer of GetImage.
struct ImageDescription : ImageAnswer {
    std::optional<std::string> importer;
    std::vector<LayerAnswer> layer_list;
    std::map<std::string, std::string> labels;
    FilteredPaths filtered;

    static void fields(auto& self, auto& fields) {
        ImageAnswer::fields(self, fields);
        fields("importer", self.importer);
        fields("layer-list", self.layer_list);
        fields("labels", self.labels);
        fields("filtered", self.filtered);
    }
};

struct DeploymentAnswer {
    std::string stateroot, checksum;
    std::uint32_t serial = 0;
    bool booted = false, pending = false, rollback = false, staged = false, pinned = false;
    std::optional<std::string> reference, image, refspec, digest, version, merge_commit, error;

    static void fields(auto& self, auto& fields) {
        fields("stateroot", self.stateroot);
        fields("checksum", self.checksum);
        fields("serial", self.serial);
        fields("booted", self.booted);
        fields("pending", self.pending);
        fields("rollback", self.rollback);
        fields("staged", self.staged);
        fields("pinned", self.pinned);
        fields("reference", self.reference);
        fields("image", self.image);
        fields("refspec", self.refspec);
        fields("digest", self.digest);
        fields("version", self.version);
        fields("merge-commit", self.merge_commit);
        fields("error", self.error);
    }
};

// And where the deployed commit names the commit of an image: the images that have it, and those that could be rolled
// back to it. Both empty: it is stored no more.
struct ImageDeployment : DeploymentAnswer {
    std::vector<std::string> stored_as, kept_of;

    static void fields(auto& self, auto& fields) {
        DeploymentAnswer::fields(self, fields);
        fields("stored-as", self.stored_as);
        fields("kept-of", self.kept_of);
    }
};

struct DifferenceAnswer {
    std::string from;
    std::optional<std::string> to;
    bool pending = false;
    std::string from_digest, to_digest;
    std::optional<std::string> from_version, to_version;
    std::vector<LayerSummary> layers_added, layers_removed, layers_kept;
    std::uint64_t bytes_added = 0, bytes_removed = 0, bytes_kept = 0;

    static void fields(auto& self, auto& fields) {
        fields("from", self.from);
        fields("to", self.to);
        fields("pending", self.pending);
        fields("from-digest", self.from_digest);
        fields("to-digest", self.to_digest);
        fields("from-version", self.from_version);
        fields("to-version", self.to_version);
        fields("layers-added", self.layers_added);
        fields("layers-removed", self.layers_removed);
        fields("layers-kept", self.layers_kept);
        fields("bytes-added", self.bytes_added);
        fields("bytes-removed", self.bytes_removed);
        fields("bytes-kept", self.bytes_kept);
    }
};

// And where files were asked for.
struct FileDifference : DifferenceAnswer {
    std::vector<std::string> files_added, files_removed, files_changed;
    bool truncated = false;  // there are more

    static void fields(auto& self, auto& fields) {
        DifferenceAnswer::fields(self, fields);
        fields("files-added", self.files_added);
        fields("files-removed", self.files_removed);
        fields("files-changed", self.files_changed);
        fields("truncated", self.truncated);
    }
};

}  // namespace imaged::job
