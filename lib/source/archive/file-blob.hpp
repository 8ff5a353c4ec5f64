// SPDX-License-Identifier: Apache-2.0
// Reads a blob that is a part of a file, in place and in its own thread, so that several can be read at once.
#pragma once

#include <cstdint>
#include <exception>
#include <thread>

#include "base/file-descriptor.hpp"
#include "oci/manifest.hpp"
#include "source/hashed-blob.hpp"

namespace imaged {

class FileBlob : public HashedBlob {
public:
    // FILE is borrowed.
    FileBlob(int file, std::uint64_t offset, const Descriptor& descriptor);
    ~FileBlob() override;

    int fd() const override { return ours_.get(); }
    void finish() override;

private:
    void pump();

    const int file_;
    const std::uint64_t offset_;
    FileDescriptor ours_, theirs_;
    std::exception_ptr failure_;  // set before the stream ends
    std::thread thread_;          // last: it uses all of the above
};

}  // namespace imaged
