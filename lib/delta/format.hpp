// SPDX-License-Identifier: Apache-2.0
// The format of tar-diff, the stream that makes one layer from files of another image: its constants, for reader and
// writer. The names of the artifact that holds such streams are in oci/delta-artifact.hpp.
#pragma once

#include <cstdint>
#include <string_view>

namespace imaged::delta {

// The first bytes of a tar-diff; one zstd stream of operations follows.
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
// Largest ones that imaged applies: a prefix and the window of a frame's output are in memory meanwhile.
inline constexpr std::uint64_t max_applied_prefix_bytes = 16ull * 1024 * 1024;
inline constexpr std::uint64_t max_applied_window_bytes = 16ull * 1024 * 1024;

}  // namespace imaged::delta
