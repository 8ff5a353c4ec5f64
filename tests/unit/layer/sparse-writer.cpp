// SPDX-License-Identifier: Apache-2.0
#include "layer/sparse-writer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/file-descriptor.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

constexpr std::size_t mib = 1024 * 1024;

struct Written {
    std::string content;
    std::uint64_t holes = 0, blocks_bytes = 0;
};

// TEXT written in pieces of PIECE bytes.
Written write(const std::string& text, std::size_t piece) {
    const FileDescriptor file(::open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    REQUIRE(file);
    Written written;
    const auto bytes = std::as_bytes(std::span(text));
    for (const auto place : {std::optional<int>(), std::optional(file.get())}) {
        SparseWriter writer(place);
        const auto counted = std::exchange(written.holes, 0);
        for (std::size_t at = 0; at < bytes.size(); at += piece)
            written.holes += writer.append(bytes.subspan(at, std::min(piece, bytes.size() - at)));
        writer.finish();
        CHECK(writer.size() == text.size());
        if (place) CHECK(counted == written.holes);
    }
    struct stat status {};
    ::fstat(file.get(), &status);
    written.blocks_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
    written.content.resize(static_cast<std::size_t>(status.st_size));
    CHECK(::pread(file.get(), written.content.data(), written.content.size(), 0) == status.st_size);
    return written;
}

}  // namespace

TEST_CASE("long runs of zeros become holes, and the content stays", "[sparse-writer]") {
    const auto text = std::string(mib, 'a') + std::string(3 * mib, '\0') + std::string(100'000, 'b') +
                      std::string(5 * mib + 17, '\0');
    for (const std::size_t piece : {1000UL, 65536UL, 262144UL, 777'777UL}) {
        const auto written = write(text, piece);
        CHECK(written.content == text);
        CHECK(written.holes > 8 * mib - 64 * 1024);
        CHECK(written.holes + written.blocks_bytes <= text.size() + 64 * 1024);
        CHECK(written.blocks_bytes < 2 * mib);
    }
}

TEST_CASE("short runs of zeros are written", "[sparse-writer]") {
    std::string text;
    for (unsigned i = 0; i < 20; ++i) text += std::string(5000, 'x') + std::string(60'000, '\0');
    const auto written = write(text, 262144);
    CHECK(written.content == text);
    CHECK(written.holes == 0);
}
