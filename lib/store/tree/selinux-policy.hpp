// SPDX-License-Identifier: Apache-2.0
// Looks up the labels that the SELinux policy inside an image gives to the image's files (file_contexts(5)).
//
// The policy's text files are copied into a scratch directory for as long as this lives, and read by libselinux there;
// compiled ones (.bin) are not, because an image may put anything in them. Nothing of the running system's own SELinux
// is looked at. Belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "layer/staging-area.hpp"
#include "store/repository/repository.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

class SelinuxPolicy {
public:
    // The policy of the tree ROOT, whose files the repository holds; null when there is none, or when the image's
    // configuration says SELINUX=disabled. Throws Error(unsupported_image) for one that cannot be read.
    static std::unique_ptr<SelinuxPolicy> find(const Repository& repository, StagingArea& staging, TreeStore& store,
                                               const TreeEntry& root);
    ~SelinuxPolicy();
    SelinuxPolicy& operator=(SelinuxPolicy&&) = delete;

    // The value of security.selinux, with its NUL, for PATH (absolute, where it is at run time) of the type in MODE;
    // nullopt if the policy has no label for it.
    std::optional<std::string> label(const std::string& path, std::uint32_t mode) const;

    // Whether OTHER, another tree, has the very files that this policy was read from.
    bool is_in(TreeStore& store, const TreeEntry& other) const;

private:
    class Handle;
    SelinuxPolicy(Path directory, TreeEntry content, std::unique_ptr<Handle> handle);

    const Path directory_;
    const TreeEntry content_;
    const std::unique_ptr<Handle> handle_;
};

}  // namespace imaged
