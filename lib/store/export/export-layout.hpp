// SPDX-License-Identifier: Apache-2.0
// Writes an OCI image layout (OCI image-spec, "Image Layout"): a directory of blobs named by their digests, with an
// index that is replaced last. Blobs are complete and durable before the index names them.
#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "base/file-descriptor.hpp"
#include "layer/byte-sink.hpp"
#include "oci/digest.hpp"
#include "oci/manifest.hpp"

namespace imaged {

class ExportLayout {
public:
    // A layout is made where nothing or an empty directory is; one that is there is added to. Throws
    // Error(invalid_argument) for a directory that is something else.
    explicit ExportLayout(const std::string& directory);

    // One blob on its way. Gone again unless finish() was called. Several may be written at once, each by one thread.
    class Blob : public ByteSink {
    public:
        explicit Blob(ExportLayout& layout);
        ~Blob() override;
        using ByteSink::write;
        void write(std::span<const std::byte> bytes) override;
        // Its digest and size; no media type.
        Descriptor finish();
        std::uint64_t size() const { return size_; }

    private:
        ExportLayout& layout_;
        std::string name_;
        FileDescriptor file_;
        Sha256 hash_;
        std::uint64_t size_ = 0;
    };
    Descriptor put(std::string_view text);

    // The digests of the blobs that were finished here, in order.
    std::set<Digest> blobs() const;

    // Names MANIFEST in the index, by TAG if there is one, in place of what had that name. Without a media type it is
    // an OCI manifest.
    void publish(const Descriptor& manifest, const std::optional<std::string>& tag);
    // Throws Error(invalid_argument) if TAG, if there is one, is that of something else than a delta.
    void require_delta_tag(const std::optional<std::string>& tag) const;
    // Names the delta ARTIFACT, by TAG if there is one, and lists it with what else refers to the image with the
    // manifest TARGET (delta-documents.hpp). What has no name stays.
    void publish_delta(const Descriptor& artifact, const std::optional<std::string>& tag, const Digest& target,
                       const Digest& source_config);

private:
    FileDescriptor directory_, blobs_;
    mutable std::mutex mutex_;
    unsigned next_ = 0;
    std::set<Digest> finished_;
};

// The layout in the directory LAYOUT with BLOBS as one tar file PATH, which must not be there yet. Blobs are removed
// from the directory as they are written, so that both together take little more room than one.
void write_layout_archive(const std::string& layout, const std::set<Digest>& blobs, const std::string& path,
                          const Cancellation& cancellation);

}  // namespace imaged
