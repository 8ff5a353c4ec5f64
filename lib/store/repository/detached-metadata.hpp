// SPDX-License-Identifier: Apache-2.0
// Filters the detached metadata of commits in images and copies: only signatures of the commit are taken, and this
// program's mark of copied commits. Other keys of an image or of another repository are not taken: programs give them a
// meaning of their own (ostree-ext.cached.*).
#pragma once

#include <string>

#include "store/repository/repository.hpp"

namespace imaged {

// Most bytes of signatures that one image or copy may bring, and that a commit may have.
inline constexpr std::size_t max_new_signature_bytes = 64 * 1024, max_signature_bytes = 1024 * 1024;

// Adds the signatures of METADATA, a serialised a{sv} from outside, to those that COMMIT has in the repository. Never
// removes or replaces one. COMMIT need not be in the repository yet. In a confined job, whose metadata another process
// writes, has no effect if COMMIT is there. Throws Error(unsupported_image) for more than max_new_signature_bytes;
// signatures beyond max_signature_bytes are left out.
void add_signatures(Repository& repository, const Checksum& commit, const std::string& metadata);

// Marks COMMIT as brought by a copy: that it holds the layer whose ref names it is the claim of another repository.
// Durable after the next sync().
void mark_copied(Repository& repository, const Checksum& commit);
// Also true if the detached metadata cannot be read: then nothing says that the commit was not copied.
bool is_copied(const Repository& repository, const Checksum& commit);
// METADATA as it may leave the repository; empty if nothing of it may.
std::string without_mark(const std::string& metadata);

}  // namespace imaged
