// SPDX-License-Identifier: Apache-2.0
// Writes the commit of a whole image: the merged tree of its layers, with manifest and config in its metadata (store
// format, "The image (merge) commit").
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "layer/derived-layer.hpp"
#include "layer/staging-area.hpp"
#include "layer/writer-pool.hpp"
#include "source/proxy/source-image.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct MergeCommit {
    std::unique_ptr<ObjectSink> sink;  // holds what is new, not yet published
    Checksum commit;
    std::uint64_t relabelled = 0;  // files and directories that the image's SELinux policy gave another label
};

// An image to merge. Borrows everything.
struct MergeInput {
    const SourceImage& source;
    const std::vector<Checksum>& layers;  // the commits of its layers, in manifest order
    const std::optional<Checksum>& base;  // that of its commit layer
    const DerivedLayerRules& rules;
};

// ON_RELABEL is called before labels are given, where the image has an SELinux policy. Throws what merge_layers() and
// relabel() throw.
MergeCommit write_merge_commit(const Repository& repository, StagingArea& staging, WriterPool& pool,
                               const MergeInput& input, const Cancellation& cancellation,
                               const std::function<void()>& on_relabel);

}  // namespace imaged
