// SPDX-License-Identifier: Apache-2.0
#include "layer/file-hash.hpp"

#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::size_t buffer_bytes = 256 * 1024;

}  // namespace

Checksum hash_file(const FileMeta& meta, int content) {
    std::vector<std::byte> buffer(buffer_bytes);
    Sha256 hash;
    hash.update(file_header(meta, {}));
    for (;;) {
        const auto count = ::read(content, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read an object");
        if (count == 0) return hash.finish();
        hash.update(std::span(buffer).first(static_cast<std::size_t>(count)));
    }
}

}  // namespace imaged
