// SPDX-License-Identifier: Apache-2.0
#include "source/archive/file-blob.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/socket-message.hpp"

namespace imaged {

namespace {

constexpr std::size_t piece_bytes = 256 * 1024;

}  // namespace

FileBlob::FileBlob(int file, std::uint64_t offset, const Descriptor& descriptor)
    : HashedBlob(descriptor), file_(file), offset_(offset) {
    // A socket and no pipe: writing to one that nobody reads any more must not be a signal.
    auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
    ours_ = std::move(ours);
    theirs_ = std::move(theirs);
    thread_ = std::thread([this] { pump(); });
}

FileBlob::~FileBlob() {
    ::shutdown(ours_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
}

void FileBlob::pump() {
    try {
        std::vector<std::byte> buffer(piece_bytes);
        for (std::uint64_t done = 0; done < descriptor().size;) {
            const auto wanted = std::min<std::uint64_t>(buffer.size(), descriptor().size - done);
            const auto count = read_at(file_, offset_ + done, std::span(buffer).first(wanted), "the archive");
            if (count == 0) throw Error(ErrorKind::corrupt_input, "the archive is truncated (in the middle of a blob)");
            if (!send_all(theirs_.get(), std::span(buffer).first(count))) return;
            done += count;
        }
    } catch (...) {
        failure_ = std::current_exception();
    }
    ::shutdown(theirs_.get(), SHUT_WR);
}

void FileBlob::finish() {
    if (thread_.joinable()) {
        ::shutdown(ours_.get(), SHUT_RD);
        thread_.join();
    }
    if (failure_) std::rethrow_exception(failure_);
    HashedBlob::finish();
}

}  // namespace imaged
