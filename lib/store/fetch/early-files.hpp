// SPDX-License-Identifier: Apache-2.0
// Publishes files of a layer in the repository while the layer is still being read, in batches.
//
// If the job is killed, these files are kept without a ref, and the next job does not fetch them again: it finds them
// as it finds files of other images, by their names in a layer of OSTree objects and by their content in a derived
// layer. The content of each file is verified against its name, even if the layer fails later.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "layer/object-sink.hpp"

namespace imaged {

// If a job is killed, it loses at most so many new bytes, apart from the file that is being read and those that writers
// have.
inline constexpr std::uint64_t early_bytes = 32 * 1024 * 1024;

// Belongs to one thread. What was not published is dropped.
class EarlyFiles {
public:
    // SYNC makes durable what was written to the repository's file system. Files are hashed beside BACKLOG, which is
    // borrowed and may be null.
    EarlyFiles(std::function<std::unique_ptr<ObjectSink>()> make_sink, std::function<void()> sync, HashBacklog* backlog)
        : make_sink_(std::move(make_sink)), sync_(std::move(sync)), backlog_(backlog) {}

    // Does what SinkOfFile does.
    ObjectSink& sink_of(std::uint64_t size);
    // Publishes the rest. Their names are durable with the next sync.
    void finish();
    const SinkCounts& counts() const { return counts_; }

private:
    const std::function<std::unique_ptr<ObjectSink>()> make_sink_;
    const std::function<void()> sync_;
    HashBacklog* const backlog_;
    std::unique_ptr<ObjectSink> sink_;
    SinkCounts counts_;
};

}  // namespace imaged
