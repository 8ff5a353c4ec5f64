// SPDX-License-Identifier: Apache-2.0
// Reads a tar-diff (delta/format.hpp): its operations produce a layer's uncompressed tar, a piece at a time.
//
// Neither the stream nor the files that it names are trusted. The caller verifies the tar by its SHA-256. Memory: the
// window of the stream's own compression, and for an operation with a prefix the prefix and as much of the output as
// that refers to, within the limits of delta/format.hpp; one such operation at a time in the whole process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/file-descriptor.hpp"
#include "delta/format.hpp"
#include "layer/byte-source.hpp"

namespace imaged {

// Operations of one stream that produce nothing, and those of them that open a file: what a stream costs that makes no
// progress.
inline constexpr std::uint64_t max_idle_operations = 50'000'000;
inline constexpr std::uint64_t max_opened_files = 4'000'000;

// Belongs to one thread.
class TarDiffReader : public ByteSource {
public:
    // Opens the file of the source image that a tar-diff calls NAME: a regular one, read from any place. Throws
    // Error(corrupt_input) if there is none.
    using OpenFile = std::function<FileDescriptor(const std::string& name)>;
    // PACKED, the bytes of the tar-diff, is borrowed. It is read on demand, and not to its end.
    TarDiffReader(ByteSource& packed, OpenFile open);
    ~TarDiffReader() override;

    // Throws Error(corrupt_input), Error(unsupported_image) for a limit, and what PACKED and OPEN throw.
    std::size_t read(std::span<std::byte> buffer) override;

private:
    struct State;
    const std::unique_ptr<State> state_;
};

}  // namespace imaged
