// SPDX-License-Identifier: Apache-2.0
// Deltas: the operations of a tar-diff, a whole tar-diff, the manifest of an artifact and an index of them. Every input
// is read as each of these.
#include <sys/mman.h>
#include <zstd.h>

#include <array>
#include <string>
#include <vector>

#include "delta/tar-diff-reader.hpp"
#include "input.hpp"
#include "oci/delta-artifact.hpp"

using namespace imaged;

namespace {

constexpr std::size_t max_produced_bytes = 16 * 1024 * 1024;

FileDescriptor file_of(std::string_view content) {
    FileDescriptor file(::memfd_create("source", MFD_CLOEXEC));
    fuzz::require(static_cast<bool>(file), "there is memory for a file");
    write_all(file.get(), std::as_bytes(std::span(content)), "a file");
    return file;
}

// Files by the first letter of their names: one without content, a small one, and one with as many bytes as there are
// values.
FileDescriptor open_source(const std::string& name) {
    if (name.empty() || name.size() > delta::max_name_bytes) throw Error(ErrorKind::corrupt_input, "no file");
    if (name[0] == 'e') return file_of("");
    if (name[0] == 's') return file_of("0123456789");
    std::string all;
    for (unsigned i = 0; i < 256; ++i) all += static_cast<char>(i);
    return file_of(all);
}

void apply(std::string_view diff) {
    fuzz::MemorySource packed(reinterpret_cast<const std::uint8_t*>(diff.data()), diff.size());
    TarDiffReader reader(packed, open_source);
    std::vector<std::byte> buffer(64 * 1024);
    for (std::size_t total = 0; total < max_produced_bytes;) {
        const auto count = reader.read(buffer);
        total += count;
        if (count < buffer.size()) return;
    }
}

std::string frame(std::span<const std::uint8_t> content) {
    std::string out(ZSTD_compressBound(content.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), content.data(), content.size(), 1));
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::text(data, size);
    for (const auto magic : {delta::version_1_magic, delta::version_2_magic}) {
        fuzz::accepted([&] { apply(std::string(magic) + frame({data, size})); });
        fuzz::accepted([&] { apply(std::string(magic) + std::string(text)); });
    }
    fuzz::accepted([&] { apply(text); });
    fuzz::accepted([&] {
        for (const auto& listed : listed_deltas(text).deltas)
            fuzz::require(listed.artifact.size <= INT64_MAX, "sizes fit");
    });
    fuzz::accepted([&] {
        const auto artifact = DeltaArtifact::parse(text);
        fuzz::require(artifact.made.size() <= max_layers, "not more layers than an image has");
        fuzz::require(DeltaArtifact::is_one(text), "what is read as a delta is one");
    });
    return 0;
}
