// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/archive-spool.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "layer/decompressor.hpp"
#include "oci/compression.hpp"

namespace imaged {

namespace {

constexpr std::size_t piece_bytes = 1024 * 1024;
// Of a pipe, within four stall times of waiting: it comes from this host, and the jobs of others wait for it.
constexpr std::uint64_t least_archive_bytes = 4 * 1024 * 1024;

bool is_compressed(int file) {
    char bytes[max_magic_bytes] = {};
    const auto count = ::pread(file, bytes, sizeof bytes, 0);
    const std::string_view head(bytes, count > 0 ? static_cast<std::size_t>(count) : 0);
    return compression_of(head) != CompressionFormat::none;
}

}  // namespace

FileDescriptor seekable_archive(int input, const Repository& repository, std::chrono::milliseconds stall_time,
                                const Cancellation& cancellation) {
    struct stat status;
    if (::fstat(input, &status) != 0) throw_errno("look at the archive");
    const bool regular = S_ISREG(status.st_mode);
    if (regular && !is_compressed(input)) {
        FileDescriptor file(::fcntl(input, F_DUPFD_CLOEXEC, 0));
        if (!file) throw_errno("duplicate the archive");
        return file;
    }
    if (regular && ::lseek(input, 0, SEEK_SET) != 0) throw_errno("read the archive");
    DescriptorSource::Options options{stall_time};
    options.least_bytes = least_archive_bytes;
    DescriptorSource source(input, cancellation, options);
    const auto plain = decompress(source);
    const auto staging = repository.make_staging();
    auto spool = open_at(staging->make_scratch()->fd(), ".", O_TMPFILE | O_RDWR, 0600);
    std::vector<std::byte> buffer(piece_bytes);
    std::uint64_t total = 0;
    for (;;) {
        const auto count = plain->read(buffer);
        if (count == 0) return spool;
        total += count;
        if (total > max_spooled_bytes)
            throw Error(ErrorKind::unsupported_image,
                        "an archive of more than the limit of " + std::to_string(max_spooled_bytes >> 30) + " GiB");
        repository.require_space(count);
        write_all(spool.get(), std::span<const std::byte>(buffer).first(count), "the archive");
    }
}

}  // namespace imaged
