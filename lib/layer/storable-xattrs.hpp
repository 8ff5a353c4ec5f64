// SPDX-License-Identifier: Apache-2.0
// Decides which extended attributes a repository can keep: those that a Linux file system stores and returns unchanged.
// The rules depend on the attribute alone and not on the kernel, so that an image gives the same objects on every host.
//   - the namespaces are security., trusted. and user.; system. holds ACLs, which would change with the mode
//   - a value is not empty: libostree does not read empty ones back
//   - names and values are as long as Linux takes them, and all of one file as listxattr(2) gives them back
//   - security.capability, security.ima and security.evm have a form that the kernel accepts
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "layer/object.hpp"

namespace imaged {

// XATTR_NAME_MAX, XATTR_SIZE_MAX and XATTR_LIST_MAX.
inline constexpr std::size_t max_xattr_name_bytes = 255;
inline constexpr std::size_t max_xattr_bytes = 65536;
inline constexpr std::size_t max_xattr_names_bytes = 65536;
// All of one file, names and values.
inline constexpr std::size_t max_xattrs_bytes = 256 * 1024;

// Removes from XATTRS of a symbolic link, or of a file or directory, what cannot be kept, and returns how many those
// were; of more than fit, the first ones stay. security.selinux is removed without being counted: the label is set from
// the policy of the image. A file capability bound to the root user of the host (revision 3, root id 0) becomes one of
// revision 2, as which the kernel would give it back.
std::uint64_t drop_unstorable(std::vector<std::pair<std::string, std::string>>& xattrs, bool symlink);

// Checks the attributes of an object whose checksum is fixed, where ACLs and labels may stay. Throws
// Error(unsupported_image) naming the first one that no file system gives back.
void require_storable(const Xattrs& xattrs);

}  // namespace imaged
