// SPDX-License-Identifier: Apache-2.0
#include "source/archive/image-reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "oci/delta-artifact.hpp"
#include "oci/export-destination.hpp"
#include "source/proxy/layout-blob.hpp"
#include "source/skopeo/signature-policy.hpp"

namespace imaged {

namespace {

// A regular file; empty for anything else, and if it cannot be opened. Reading a pipe takes away what is read, and
// to open and close one ends its writer.
FileDescriptor open_regular(const std::string& path) {
    struct stat status;
    if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
    FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    return file && ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) ? std::move(file) : FileDescriptor();
}

}  // namespace

ImageReader::ImageReader(const ImageReference& image, const ProxyOptions& options, const Cancellation& cancellation)
    : image_(image), options_(options), cancellation_(cancellation), registry_blobs_(image, options, cancellation) {
    // As early as can be: it takes longest to get going.
    if (image.transport() != Transport::oci_archive) proxy();
}

ImageProxy& ImageReader::proxy() {
    return proxies_.empty() ? proxies_.emplace_back(cancellation_, options_) : proxies_.back();
}

std::unique_ptr<ImageArchive> ImageReader::archive(const std::optional<Digest>& pinned) const {
    if (image_.transport() != Transport::oci_archive) return nullptr;
    const auto policy = load_host_policy();
    if (!accepts_everything(policy)) return nullptr;
    const auto [path, tag] = split_tag(image_.name());
    try {
        auto file = open_regular(path);
        if (!file) return nullptr;
        auto archive =
            ImageArchive::open_tagged(std::move(file), tag, deciding_policy(policy, image_), pinned, cancellation_);
        // skopeo's way refuses it.
        if (archive->image().delta && image_.signature_source() == SignatureSource::ostree_remote) return nullptr;
        check_layout(image_, archive->image().layout);
        return archive;
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        return nullptr;
    }
}

SourceImage ImageReader::open(const std::optional<Digest>& pinned) {
    archive_ = archive(pinned);
    if (archive_) return archive_->image();
    auto image = open_source_image(proxy(), image_, pinned, options_);
    digest_ = image.digest;
    return image;
}

void ImageReader::open_for_layers(const Digest& digest) {
    archive_ = archive(digest);
    if (!archive_) open_by_digest(digest);
}

void ImageReader::open_by_digest(const Digest& digest) {
    digest_ = digest;
    if (image_.transport() == Transport::registry) {
        try {
            proxy().open_image(image_.with_digest(digest).image());
            return;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) throw;
        }
    }
    proxy().open_image(image_.source());
}

std::optional<std::string> ImageReader::referrers(const Digest& digest) {
    return find_raw_manifest(image_.with_tag(delta::referrers_tag(digest)).image(), proxy(), options_);
}

std::string ImageReader::artifact_manifest(const Descriptor& artifact) {
    if (image_.transport() == Transport::registry) {
        auto text = find_raw_manifest(image_.with_digest(artifact.digest).image(), proxy(), options_);
        if (!text) throw Error(ErrorKind::not_found, "the registry does not have its manifest");
        return *std::move(text);
    }
    return proxy().small_blob(artifact.digest, artifact.size, max_manifest_bytes, "manifest of a delta");
}

std::unique_ptr<Blob> ImageReader::open(const Descriptor& blob) {
    if (archive_) return archive_->open(blob);
    auto direct = open_layout_blob(image_, blob);
    if (!direct) direct = registry_blobs_.open(blob);
    return direct ? std::move(direct) : proxy_for_blobs().blob(blob.digest, blob.size);
}

ImageProxy& ImageReader::proxy_for_blobs() {
    const std::lock_guard lock(mutex_);
    auto& current = proxy();
    if (current.in_step() || !digest_) return current;
    auto options = options_;
    options.started = nullptr;
    proxies_.emplace_back(cancellation_, options);
    open_by_digest(Digest(*digest_));
    return proxies_.back();
}

}  // namespace imaged
