// SPDX-License-Identifier: Apache-2.0
// Reads the keys that a repository's administrator trusts for an OSTree remote: GPG keys, or ed25519 keys if the
// running libostree supports them. They verify the commit that an image was made from (ostree-remote-image:REMOTE:…).
//
// Borrows the repository; belongs to one thread.
#pragma once

#include <string>

#include "layer/object-layer.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class RemoteKeys {
public:
    // Throws Error(policy_rejected) when the repository does not know REMOTE, when REMOTE verifies nothing, or when it
    // asks for a kind of signature that this libostree was built without.
    RemoteKeys(const Repository& repository, std::string remote);

    // Throws Error(policy_rejected) unless one of the keys signed the commit; with several kinds of keys, one of each.
    void verify(const CommitHead& commit) const;

private:
    const Repository& repository_;
    const std::string remote_;
};

}  // namespace imaged
