// SPDX-License-Identifier: Apache-2.0
// Writes a tar-diff (delta/format.hpp): the operations that make one layer, compressed, into a sink.
//
// The same calls give the same bytes in one build. Belongs to one thread. Throws what the sink throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "delta/format.hpp"
#include "layer/zstd-writer.hpp"

namespace imaged::delta {

enum class TarDiffVersion {
    v1,  // what older programs read: no frames with a prefix
    v2,
};

class TarDiffWriter {
public:
    // Borrows SINK.
    TarDiffWriter(ByteSink& sink, TarDiffVersion version);
    TarDiffWriter& operator=(TarDiffWriter&&) = delete;

    // Bytes of the layer that are no file's of the source image.
    void data(std::span<const std::byte> bytes);
    // SIZE bytes of the source image's file NAME from OFFSET on. NAME has max_name_bytes at most.
    void copy(const std::string& name, std::uint64_t offset, std::uint64_t size);
    // The bytes there, to each of which one of DIFFERENCES is added.
    void add(const std::string& name, std::uint64_t offset, std::span<const std::byte> differences);
    // What FRAME, whose reference prefix is the file NAME, decompresses to: MADE bytes. Version 2 only.
    void prefixed(const std::string& name, std::span<const std::byte> frame, std::uint64_t made);
    // Writes what is left.
    void finish();

    // Bytes of the layer so far.
    std::uint64_t made() const { return made_; }

private:
    void operation(Operation operation, std::uint64_t size);
    void write(std::span<const std::byte> bytes) { stream_.write(bytes); }
    void flush_data();
    void go_to(const std::string& name, std::uint64_t offset);

    ZstdWriter stream_;
    std::vector<std::byte> pending_;  // bytes of data() whose operation is not written yet
    std::string current_;             // the file that is open; empty for none
    std::uint64_t position_ = 0;      // in it
    std::uint64_t made_ = 0;
};

}  // namespace imaged::delta
