// SPDX-License-Identifier: Apache-2.0
// Selects a manifest from an index (OCI image-spec "Image Index") or a Docker manifest list. The rules are skopeo's, so
// that an archive gives the same image as a layout or a registry.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json-fwd.hpp"
#include "oci/digest.hpp"
#include "oci/manifest.hpp"

namespace imaged {

// The architecture of this host, as Go names it: "amd64", "arm64", …
std::string host_architecture();

// The entry of INDEX for this host: the first for Linux and its architecture without a variant, else with one that
// every processor of the architecture is, else the first entry that names no platform. Throws Error(not_found) naming
// the platforms that there are, Error(unsupported_image) for an artifact, and Error(corrupt_input).
Descriptor choose_for_host(const nlohmann::json& index);

// The same of an index as text; nullopt for a manifest.
std::optional<Descriptor> choose_image(std::string_view text);

// The entry with DIGEST of the index TEXT; nullopt if it is no index, or lists none.
std::optional<Descriptor> listed_manifest(std::string_view text, const Digest& digest);

// Throws Error(corrupt_input) unless ENTRY is a descriptor, and Error(unsupported_image) for an artifact's.
Descriptor index_descriptor(const nlohmann::json& entry);

}  // namespace imaged
