// SPDX-License-Identifier: Apache-2.0
// Reads blobs of a registry through the system's service, without skopeo (source/skopeo/blob-request.hpp). It goes on
// where it was when a connection breaks. Manifests, signatures and policy are skopeo's, and so is every blob that the
// service leaves to it: where registries.conf, credentials or a registry want what it does not know.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "base/blob-range.hpp"
#include "base/cancellation.hpp"
#include "base/file-descriptor.hpp"
#include "oci/image-reference.hpp"
#include "oci/manifest.hpp"
#include "source/blob.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

class RegistryBlobs {
public:
    // Borrows all. Starts nothing before a blob is asked for.
    RegistryBlobs(const ImageReference& image, const ProxyOptions& options, const Cancellation& cancellation)
        : image_(image), options_(options), cancellation_(cancellation) {}

    // BLOB from its beginning; null if skopeo is to fetch it. Thread-safe. Throws what went wrong before the first
    // byte: Error(not_found), Error(source_unreachable), …
    std::unique_ptr<Blob> open(const Descriptor& blob);
    // Whether parts of blobs may be had: not after a registry refused one. Thread-safe.
    bool gives_parts();
    // Whether the registry has answered the last request for several parts with all of them. Thread-safe.
    bool gives_several_parts() const { return gives_several_; }
    // RANGES of BLOB, at most max_blob_ranges in ascending order, which are not verified but for the number of their
    // bytes. Does not wait: the returned blob throws the errors. Null if parts are not supported.
    // Thread-safe.
    std::unique_ptr<Blob> open_parts(const Descriptor& blob, std::span<const BlobRange> ranges);

private:
    struct Pipes {
        FileDescriptor bytes, reports;
        bool asked = false;
    };
    // Asks SERVICE for parts of BLOB.
    Pipes ask(int service, const Descriptor& blob, std::span<const BlobRange> ranges) const;
    // The channel of the service; nullopt if skopeo is to fetch everything.
    std::optional<int> channel();

    const ImageReference& image_;
    const ProxyOptions& options_;
    const Cancellation& cancellation_;
    std::atomic<bool> refuses_parts_ = false, gives_several_ = false;
    std::mutex mutex_;
    std::shared_ptr<SkopeoRun> service_;
    bool left_to_skopeo_ = false;
};

}  // namespace imaged
