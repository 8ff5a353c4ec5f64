// SPDX-License-Identifier: Apache-2.0
// Image manifests: OCI image-spec "Image Manifest" and Docker "Image Manifest Version 2, Schema 2". Indexes are
// resolved before (by skopeo).
//
// Parsing reads an explicit list of fields and refuses what it does not understand with Error(unsupported_image), and
// what is broken with Error(corrupt_input). Unknown fields are kept in the text that is stored, and otherwise ignored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json-fwd.hpp"
#include "oci/digest.hpp"

namespace imaged {

// Registries refuse larger manifests too (distribution-spec: at least 4 MiB must be accepted).
inline constexpr std::size_t max_manifest_bytes = 4 * 1024 * 1024;
// More than any image in the wild; overlayfs itself stops at 500 lower directories.
inline constexpr std::size_t max_layers = 1024;

struct Descriptor {
    std::string media_type;
    Digest digest;
    std::uint64_t size = 0;  // bytes, compressed where the layer is
    // Annotations of a layer below io.github.containers.zstd-chunked, by the rest of their names.
    std::map<std::string, std::string> chunked = {};
};

struct Manifest {
    bool docker = false;  // Docker schema 2 rather than OCI
    Descriptor config;
    std::vector<Descriptor> layers;
    std::map<std::string, std::string> annotations;

    static Manifest parse(std::string_view text);
    // Whether TEXT is an index or manifest list, which is not an image itself.
    static bool is_index(std::string_view text);
};

// Throws Error(unsupported_image) if OBJECT, a manifest or an index's descriptor of one, is of an artifact by its media
// type.
void refuse_artifact(const nlohmann::json& object);

}  // namespace imaged
