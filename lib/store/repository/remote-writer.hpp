// SPDX-License-Identifier: Apache-2.0
// Changes a repository through another process, which checks each request. This process has the repository read-only,
// and each scratch directory only until its content is published.
#pragma once

#include <map>
#include <mutex>
#include <span>
#include <string>

#include "base/file-descriptor.hpp"
#include "oci/image-reference.hpp"
#include "store/files/publisher-protocol.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

// Thread-safe but for the lock. What a job of another kind would need is refused: exclusive locks, removing refs.
class RemoteWriter : public RepositoryWriter, public std::enable_shared_from_this<RemoteWriter> {
public:
    // CHANNEL is a packet socket, owned. TARGET is the image that the job imports; its ref is the only one that is not
    // a layer's. None: the job writes no ref.
    RemoteWriter(FileDescriptor channel, const std::optional<ImageReference>& target);

    void lock(LockKind kind, std::chrono::seconds limit) override;
    void unlock(LockKind kind) noexcept override;
    std::unique_ptr<StagingArea> make_staging() override;
    void clear_leftovers() override {}
    void announce(const Digest& manifest, const ImageLayout& layout, const std::string& rule) override;
    void set_ref(const std::string& ref, const std::optional<Checksum>& commit) override;
    void set_refs(const std::map<std::string, Checksum>& refs) override {
        for (const auto& [ref, commit] : refs) set_ref(ref, commit);
    }
    bool replaces_metadata() const override { return false; }
    void write_detached_metadata(const Checksum& commit, const std::string& serialised) override;
    void add_layer(const ImageLayer& layer, const Checksum& commit, bool blob_seen) override;
    void add_image(const Digest& manifest, const Checksum& commit) override;
    void keep_record(const std::string& name, const std::optional<std::string>& text) override;
    // Starts another worker that drops the refs of layers that no image uses, which requires reading all images.
    // Returns the descriptor on which it reports its result. Call once, after the lock was released.
    FileDescriptor drop_layers();

private:
    class Staging;
    class RemoteScratch;
    struct Answer {
        PublisherAnswer head;
        FileDescriptor descriptor;
    };
    // Throws what the other process did not do, after WHAT.
    Answer ask(const std::string& what, const PublisherHead& head, std::span<const std::byte> rest = {});
    std::shared_ptr<Scratch> make_scratch();
    // A scratch directory with the file 0/NAME.
    std::shared_ptr<RemoteScratch> with_file(const std::string& name, const std::string& content);

    const FileDescriptor channel_;
    std::map<std::string, std::uint32_t> numbers_;  // of layers by their refs, and the image's
    std::mutex mutex_;
};

}  // namespace imaged
