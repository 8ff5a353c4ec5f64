// SPDX-License-Identifier: Apache-2.0
// Gives every file and directory of a merged tree the label of the SELinux policy in the tree. The layers do not
// change: a file or directory whose label changes becomes a new object.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/cancellation.hpp"
#include "layer/object-sink.hpp"
#include "layer/staging-area.hpp"
#include "store/repository/repository.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

struct RelabelledTree {
    TreeEntry root;
    std::uint64_t changed = 0;  // files and directories that have another label now
};

// ROOT is a whole tree in the layout of a commit, whose directories SINK and whose files REPOSITORY holds; new objects
// go to SINK. What ROOT has in common with BASE stays as it is where BASE carries labels of the same policy. BEGIN is
// called when there is a policy; without one the tree comes back as it is. Throws what SelinuxPolicy::find() throws,
// Error(no_space), Error(cancelled).
RelabelledTree relabel(const Repository& repository, StagingArea& staging, ObjectSink& sink, const TreeEntry& root,
                       const std::optional<TreeEntry>& base, const Cancellation& cancellation,
                       const std::function<void()>& begin);

}  // namespace imaged
