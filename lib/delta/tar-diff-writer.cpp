// SPDX-License-Identifier: Apache-2.0
#include "delta/tar-diff-writer.hpp"

#include <algorithm>
#include <array>

namespace imaged::delta {

namespace {

// One operation of data. Readers may hold one in memory.
constexpr std::size_t max_data_bytes = 256 * 1024;
// Of the operations' own stream. Tables of 12 MiB and a window of 4 MiB: two layers are written at once.
constexpr int stream_level = 12, stream_window_log = 22, stream_hash_log = 20, stream_chain_log = 21;
// After an operation whose effect on the position is undefined.
constexpr std::uint64_t unknown_position = UINT64_MAX;

}  // namespace

TarDiffWriter::TarDiffWriter(ByteSink& sink, TarDiffVersion version)
    : stream_(sink, {{ZSTD_c_compressionLevel, stream_level},
                     {ZSTD_c_windowLog, stream_window_log},
                     {ZSTD_c_hashLog, stream_hash_log},
                     {ZSTD_c_chainLog, stream_chain_log}}) {
    sink.write(version == TarDiffVersion::v1 ? version_1_magic : version_2_magic);
    pending_.reserve(max_data_bytes);
}

void TarDiffWriter::operation(Operation operation, std::uint64_t size) {
    std::array<std::byte, 11> bytes{static_cast<std::byte>(operation)};
    std::size_t count = 1;
    for (; size >= 0x80; size >>= 7) bytes[count++] = static_cast<std::byte>(size | 0x80);
    bytes[count++] = static_cast<std::byte>(size);
    write(std::span(bytes).first(count));
}

void TarDiffWriter::data(std::span<const std::byte> bytes) {
    made_ += bytes.size();
    while (!bytes.empty()) {
        const auto count = std::min(bytes.size(), max_data_bytes - pending_.size());
        pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
        bytes = bytes.subspan(count);
        if (pending_.size() == max_data_bytes) flush_data();
    }
}

void TarDiffWriter::flush_data() {
    if (pending_.empty()) return;
    operation(Operation::data, pending_.size());
    write(pending_);
    pending_.clear();
}

void TarDiffWriter::go_to(const std::string& name, std::uint64_t offset) {
    flush_data();
    if (current_ != name) {
        operation(Operation::open, name.size());
        write(std::as_bytes(std::span(name)));
        current_ = name;
        position_ = 0;
    }
    if (position_ != offset) operation(Operation::seek, offset);
    position_ = offset;
}

void TarDiffWriter::copy(const std::string& name, std::uint64_t offset, std::uint64_t size) {
    if (size == 0) return;
    go_to(name, offset);
    operation(Operation::copy, size);
    position_ += size;
    made_ += size;
}

void TarDiffWriter::add(const std::string& name, std::uint64_t offset, std::span<const std::byte> differences) {
    if (differences.empty()) return;
    go_to(name, offset);
    operation(Operation::add_data, differences.size());
    write(differences);
    position_ += differences.size();
    made_ += differences.size();
}

void TarDiffWriter::prefixed(const std::string& name, std::span<const std::byte> frame, std::uint64_t made) {
    // Whatever the position is: a prefix is the whole file.
    flush_data();
    if (current_ != name) go_to(name, 0);
    operation(Operation::prefixed, frame.size());
    write(frame);
    position_ = unknown_position;
    made_ += made;
}

void TarDiffWriter::finish() {
    flush_data();
    stream_.finish();
}

}  // namespace imaged::delta
