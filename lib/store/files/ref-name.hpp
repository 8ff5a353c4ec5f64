// SPDX-License-Identifier: Apache-2.0
// Converts image names and digests to names of refs, in the store format shared with ostree-ext. A ref name may contain
// few characters, so the others are escaped:
//   ASCII letters, digits and '-' are kept; '/' is kept after one of those letters or digits, unless it is the last;
//   '_' becomes "__";
//   '-' is not kept at the beginning of a part of the ref, because libostree refuses such a ref;
//   every other code point becomes '_', its number in upper-case hexadecimal with at least two digits, '_'.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "oci/digest.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

inline constexpr std::string_view layer_ref_prefix = "ostree/container/blob/";
inline constexpr std::string_view image_ref_prefix = "ostree/container/image/";
// The same as directories of refs.
inline constexpr const char* layer_ref_directory = "ostree/container/blob";
inline constexpr const char* image_ref_directory = "ostree/container/image";
inline constexpr const char* derived_ref_directory = "imaged/derived";
inline constexpr const char* objects_ref_directory = "imaged/objects";
// All that have refs of layers.
inline constexpr std::array layer_ref_directories{layer_ref_directory, derived_ref_directory, objects_ref_directory};

// Throws Error(invalid_reference) for empty text, a NUL, or text that is not UTF-8.
std::string escape_for_ref(std::string_view text);
// The inverse; nullopt for a text that escape_for_ref() never returns.
std::optional<std::string> unescape_ref(std::string_view escaped);

std::string layer_ref(const Digest& digest);
// Refs that no other program looks at, of a derived layer and of one of OSTree objects (layer-ref.hpp).
std::string derived_ref(const Digest& blob);
std::string objects_ref(const Digest& blob);
// Whether REF has the name of one of a layer's refs.
bool is_layer_ref(std::string_view ref);
// The signature source is not part of an image's ref.
std::string image_ref(const ImageReference& image);
// The name of the image that REF, which begins with image_ref_prefix, stands for; REF itself if it is no such ref.
std::string image_of_ref(const std::string& ref);

}  // namespace imaged
