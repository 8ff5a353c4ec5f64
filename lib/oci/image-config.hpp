// SPDX-License-Identifier: Apache-2.0
// Image configurations: OCI image-spec "Image Configuration"; Docker's is the same in all that is read here.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci/digest.hpp"

namespace imaged {

inline constexpr std::size_t max_config_bytes = 4 * 1024 * 1024;

struct ImageConfig {
    std::vector<Digest> diff_ids;               // SHA-256 of each layer's uncompressed tar
    std::map<std::string, std::string> labels;  // config.Labels
    std::vector<std::optional<std::string>>
        created_by;                               // per layer: entries of the history marked empty_layer take no place
    std::optional<std::string> created;           // RFC 3339, unless it is malformed
    std::optional<std::string> architecture, os;  // as Go names them (GOARCH, GOOS); no empty texts

    // Throws Error(corrupt_input) or Error(unsupported_image).
    static ImageConfig parse(std::string_view text);
    // Whether a label of bootc or OSTree says that a machine is to boot it.
    bool bootable() const;
    // The label org.opencontainers.image.version, or ostree's own "version".
    std::optional<std::string> version() const;
};

}  // namespace imaged
