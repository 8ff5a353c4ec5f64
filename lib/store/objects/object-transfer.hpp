// SPDX-License-Identifier: Apache-2.0
// Copies objects between repositories in the cheapest way: a hard link if both store them in the same form on one file
// system, else shared extents (FICLONE), else a copy of the content in the destination's form.
//
// Everything is hashed on the way, by the descriptor that is then linked or the clone that is kept. Only what nobody
// else can change is linked: an inode of this process's user or of root that no other user may write. Links appear at
// once, copies when they are durable: whatever happens, the destination has whole objects only. What one image may
// unpack to (expansion-limit.hpp) is the limit of what is read. Belongs to one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/cancellation.hpp"
#include "base/file-descriptor.hpp"
#include "base/task-group.hpp"
#include "layer/object-sink.hpp"
#include "layer/staging-area.hpp"
#include "layer/writer-pool.hpp"
#include "store/objects/checksum-set.hpp"
#include "store/objects/object-check.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct TransferCounts {
    std::uint64_t linked = 0, reflinked = 0, copied = 0;  // objects
    std::uint64_t present = 0;                            // objects that were there
    std::uint64_t bytes_copied = 0;                       // content of files
};

class ObjectTransfer {
public:
    // Borrows everything; nobody else submits to POOL while this is there. Its end waits for what is under way. Throws
    // Error(unsupported_image) for a repository mode that holds no container images.
    ObjectTransfer(const Repository& source, const Repository& destination, StagingArea& staging, WriterPool& pool,
                   const Cancellation& cancellation);

    // Copying an object twice has no effect. Throws Error(repository_damaged) naming an object that the source does not
    // have, that is corrupt, or larger than a layer may be, Error(unsupported_image) if all are larger than an image
    // may be; now or in finish_files().
    void add_file(const Checksum& file);
    // All files are in the destination after this.
    void finish_files();
    // To be called after finish_files(), parts before what names them.
    void add_metadata(ObjectType type, const Checksum& checksum);
    // All metadata is in the destination after this.
    void finish_metadata() { publish(); }

    TransferCounts counts() const;

private:
    // A link is quick: many make one task, which has the kernel read some files while it hashes one.
    static constexpr std::size_t batch_length = 256, opened_ahead = 32;
    // Copies become durable together; more objects or bytes are not lost when the job is killed.
    static constexpr std::uint64_t max_staged_bytes = 256ULL * 1024 * 1024;
    static constexpr std::uint64_t max_staged_objects = 20'000;
    static constexpr std::size_t copy_bytes = 256 * 1024;

    void submit_links();
    void link_batch(const std::vector<Checksum>& batch);
    void wait_for_links();
    enum class Link { made, present, impossible };
    // An object that is linked soon.
    struct Next {
        std::string name;
        bool is_present;        // in the destination
        FileDescriptor object;  // none if it is missing or must be copied
    };
    Next open_ahead(const Checksum& file) const;
    Link link_file(const Checksum& file, const Next& next);
    Link link_metadata(const std::string& name, const Checksum& checksum);
    Link link(int object, const std::string& name);
    void copy_file(const Checksum& checksum);
    void copy_content(const Checksum& checksum);
    void count(const ContentSize& size);
    ObjectSink& sink();
    void publish();

    const Repository& source_;
    const Repository& destination_;
    StagingArea& staging_;
    WriterPool& pool_;
    const Cancellation& cancellation_;
    const ObjectCheck check_;
    const bool same_device_, same_form_;
    bool clones_;
    ChecksumSet seen_;
    std::vector<Checksum> batch_;
    std::unique_ptr<ObjectSink> sink_;
    std::uint64_t staged_objects_ = 0, staged_bytes_ = 0;
    TransferCounts counts_;

    // Shared with the pool's threads.
    std::mutex mutex_;
    std::vector<Checksum> unlinkable_;
    std::atomic<std::uint64_t> linked_ = 0, present_ = 0;
    std::atomic<std::uint64_t> content_ = 0, stored_ = 0;  // bytes, as ContentSize has them
    TaskGroup links_;                                      // last: they use all of the above
};

}  // namespace imaged
