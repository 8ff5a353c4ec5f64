// SPDX-License-Identifier: Apache-2.0
// The names and numbers of deltas between images: the artifact that holds them in a registry or a layout, and the
// stream, tar-diff, that makes one layer from files of another image. What reads and what writes them share this
// header.
#pragma once

#include <cstdint>
#include <string_view>

namespace imaged::delta {

// The artifact: an OCI manifest with this `artifactType`, whose `subject` is the manifest of the image that it makes.
inline constexpr std::string_view artifact_type = "application/vnd.io.github.containers.oci-delta.v1";

// Annotation of the manifest: the digest of the config of the image that has to be stored.
inline constexpr std::string_view source_config_annotation = "io.github.containers.delta.source-config";

// Annotations of the artifact's layers: what each holds, and which layer of the image it makes.
inline constexpr std::string_view content_annotation = "io.github.containers.delta.content";
inline constexpr std::string_view target_layer_annotation = "io.github.containers.delta.to";
inline constexpr std::string_view manifest_content = "image-manifest", config_content = "image-config",
                                  layer_content = "image-layer";

// Media type of a layer that is a tar-diff. A layer of another type is the layer itself.
inline constexpr std::string_view tar_diff_type = "application/vnd.tar-diff";

// What a tar-diff begins with; one zstd stream of operations follows.
inline constexpr std::string_view version_1_magic{"tardf1\n\0", 8}, version_2_magic{"tardf2\n\0", 8};

// Each operation is this byte, a size (unsigned, seven bits a byte, low ones first, the eighth says that another byte
// follows) and, where said, as many bytes.
enum class Operation : std::uint8_t {
    data = 0,      // the bytes that follow
    open = 1,      // a name follows: that file of the source image is the current one, at position 0
    copy = 2,      // as many bytes of the current file; the position advances
    add_data = 3,  // the bytes that follow, each added (modulo 256) to one of the current file; the position advances
    seek = 4,      // the position in the current file is the size
    prefixed = 5,  // a zstd frame follows whose reference prefix is the whole current file; version 2 only
};

inline constexpr std::uint64_t max_name_bytes = 4096;
inline constexpr std::uint64_t max_added_bytes = 100ull * 1024 * 1024;   // of one add_data
inline constexpr std::uint64_t max_prefix_bytes = 512ull * 1024 * 1024;  // of a file that is a reference prefix
inline constexpr int max_window_log = 29;                                // of a frame with a prefix

}  // namespace imaged::delta
