// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/layout-blob.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

class LayoutBlob : public Blob {
public:
    LayoutBlob(FileDescriptor file, const Descriptor& descriptor) : file_(std::move(file)), descriptor_(descriptor) {}

    int fd() const override { return file_.get(); }
    void taken(std::span<const std::byte> bytes) override {
        hash_.update(bytes);
        size_ += bytes.size();
    }
    void finish() override {
        const auto digest = hash_.finish();
        if (digest.hex() != descriptor_.digest.hex())
            throw Error(ErrorKind::digest_mismatch,
                        "the blob has the digest sha256:" + digest.hex() + ", not " + descriptor_.digest.text());
        if (size_ != descriptor_.size)
            throw Error(ErrorKind::corrupt_input, "the blob has " + std::to_string(size_) +
                                                      " bytes, the manifest says " + std::to_string(descriptor_.size));
    }

private:
    const FileDescriptor file_;
    const Descriptor descriptor_;
    Sha256 hash_;
    std::uint64_t size_ = 0;
};

// Where the SHA-256 blobs of IMAGE lie; empty for one that is in no local directory.
std::string blob_directory(const ImageReference& image) {
    switch (image.transport()) {
        case Transport::oci: return image.name().substr(0, image.name().find(':')) + "/blobs/sha256/";
        case Transport::dir: return image.name() + "/";
        default: return {};
    }
}

}  // namespace

std::unique_ptr<Blob> open_layout_blob(const ImageReference& image, const Descriptor& descriptor) {
    const auto directory = blob_directory(image);
    if (directory.empty()) return nullptr;
    // Never waits, whatever the name leads to.
    FileDescriptor file(::open((directory + std::string(descriptor.digest.hex())).c_str(),
                               O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status;
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    return std::make_unique<LayoutBlob>(std::move(file), descriptor);
}

}  // namespace imaged
