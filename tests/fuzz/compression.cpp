// SPDX-License-Identifier: Apache-2.0
// gzip and zstd framing. Where both of the gzip readers take an input, they read the same.
#include "base/checksum.hpp"
#include "input.hpp"
#include "layer/decompressor.hpp"
#include "layer/gzip.hpp"

using namespace imaged;

namespace {

// A bomb is for the limits of a layer; here it only takes time.
constexpr std::size_t enough = 8 * 1024 * 1024;

struct Unpacked {
    bool good = false;
    Checksum hash;
    std::size_t size = 0;
};

Unpacked unpack(const std::function<std::unique_ptr<ByteSource>()>& open) {
    Unpacked result;
    result.good = fuzz::accepted([&] {
        const auto source = open();
        Sha256 hash;
        std::vector<std::byte> buffer(64 * 1024);
        while (const auto count = source->read(buffer)) {
            hash.update(std::span(buffer).first(count));
            result.size += count;
            if (result.size > enough) throw Error(ErrorKind::no_space, "enough for a fuzzer");
        }
        result.hash = hash.finish();
    });
    return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::MemorySource source(data, size);
    const auto first = unpack([&] { return decompress(source); });
    if (size < 2 || data[0] != 0x1f || data[1] != 0x8b) return 0;
    fuzz::MemorySource again(data, size);
    const auto second = unpack([&] { return zlib_gzip(std::make_unique<CompressedInput>(again)); });
    if (first.good && second.good) fuzz::require(first.hash == second.hash, "both gzip readers read the same");
    return 0;
}
