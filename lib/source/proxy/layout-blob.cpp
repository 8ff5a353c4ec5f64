// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/layout-blob.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file-descriptor.hpp"
#include "source/hashed-blob.hpp"

namespace imaged {

namespace {

class LayoutBlob : public HashedBlob {
public:
    LayoutBlob(FileDescriptor file, const Descriptor& descriptor) : HashedBlob(descriptor), file_(std::move(file)) {}

    int fd() const override { return file_.get(); }

private:
    const FileDescriptor file_;
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
    FileDescriptor file(
        ::open((directory + descriptor.digest.hex()).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status;
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    return std::make_unique<LayoutBlob>(std::move(file), descriptor);
}

}  // namespace imaged
