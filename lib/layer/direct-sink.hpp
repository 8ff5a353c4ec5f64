// SPDX-License-Identifier: Apache-2.0
// Writes loose objects in the on-disk format of bare and bare-user repositories, without libostree's per-object
// transaction work.
//
// The format (libostree's documentation, "Repository" and ostree-repo.h, OstreeRepoMode):
//   bare       a file object is the file itself: owner, mode and xattrs are the inode's, mtime 0; a symbolic link is a
//              symbolic link
//   bare-user  always a regular file; owner, mode and xattrs are in the xattr user.ostreemeta; a symbolic link's target
//              is the content
//   both       dirtree, dirmeta and commit are their serialised bytes, mode 0644
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "base/paired-sha256.hpp"
#include "base/task-group.hpp"
#include "layer/object-sink.hpp"
#include "layer/staged-objects.hpp"
#include "layer/staging-area.hpp"
#include "layer/writer-pool.hpp"

namespace imaged {

enum class DirectFormat { bare, bare_user };

class DirectSink : public ObjectSink {
public:
    // All borrowed; OBJECTS is the repository's objects directory.
    DirectSink(DirectFormat format, int objects, StagingArea& staging, WriterPool& pool)
        : DirectSink(format, objects, staging.make_scratch(), pool) {}

    void hash_beside(HashBacklog* backlog) override { backlog_ = backlog; }
    void check_present(const CheckPresent& check) override { check_present_ = check; }
    Checksum put_file(const FileMeta& meta, std::vector<std::byte> content) override;
    Checksum put_symlink(const FileMeta& meta, const std::string& target) override;
    Checksum put_metadata(ObjectType type, std::string_view bytes) override;
    std::unique_ptr<LargeFile> begin_large(const FileMeta& meta, std::uint64_t size) override;
    bool clone_file(const Checksum& checksum, const FileMeta& meta, int content) override;
    std::string read_metadata(ObjectType type, const Checksum& checksum) override;
    std::optional<std::string> read_symlink(const Checksum& checksum) override;
    std::optional<std::uint64_t> file_size(const Checksum& checksum) override;
    bool has_file(const Checksum& checksum) override;
    void expect_file(const Checksum& checksum) override { staged_.add_present(checksum, ObjectType::file); }
    std::unique_ptr<ObjectSink> side_sink() override;
    void adopt(const Checksum& file, ObjectSink& side) override;
    void retain_dirtrees(const std::unordered_set<Checksum>& keep) override;
    void flush() override { writes_.wait(); }
    using ObjectSink::publish;
    void publish(const std::function<void()>& before_commits) override;
    SinkCounts counts() const override {
        return {objects_written_, objects_reused_, bytes_written_, objects_reflinked_};
    }

private:
    class Large;
    DirectSink(DirectFormat format, int objects, std::shared_ptr<Scratch> scratch, WriterPool& pool);
    // The directory of an object until it is published.
    static std::size_t place_of(const Checksum& checksum) { return checksum.bytes[1] % spread; }
    int directory(const Checksum& checksum) const { return directory(place_of(checksum)); }
    // Made when the first object is put there: what a repository has already needs none. Thread-safe.
    int directory(std::size_t place) const;
    bool in_repository(const Checksum& checksum, ObjectType type) const;
    // True for an object that the repository has already; it must still be there when this sink is published.
    bool reuse(const Checksum& checksum, ObjectType type);
    // The same for a regular file.
    bool reuse_file(const Checksum& checksum);
    void write_file(const Checksum& checksum, const FileMeta& meta, std::span<const std::byte> content);
    mode_t object_mode(const FileMeta& meta) const;
    void set_metadata(int fd, const FileMeta& meta) const;
    // An empty descriptor if it is not here.
    FileDescriptor try_open_staged(const Checksum& checksum, ObjectType type, int flags) const;
    FileDescriptor open_object(const Checksum& checksum, ObjectType type, int flags) const;
    void count_written(std::uint64_t bytes);
    void hash(PairedSha256& hash, std::span<const std::byte> bytes);

    const DirectFormat format_;
    const int objects_;
    const std::shared_ptr<Scratch> scratch_;  // shared with its side sinks
    WriterPool& pool_;
    // Creating a file locks its directory, so objects are spread over some, by checksum.
    static constexpr std::size_t spread = 4;
    struct Directory {
        std::once_flag once;
        unsigned number = 0;
        FileDescriptor owner;
        std::atomic<int> descriptor = -1;  // until it is made
    };
    mutable std::array<Directory, spread> directories_;
    unsigned large_files_ = 0;
    PairedSha256 small_hash_;
    HashBacklog* backlog_ = nullptr;
    CheckPresent check_present_;
    bool clones_ = true;  // as far as is known
    std::atomic<std::uint64_t> objects_written_ = 0, objects_reused_ = 0, bytes_written_ = 0;
    std::uint64_t objects_reflinked_ = 0;
    StagedObjects staged_;
    TaskGroup writes_;  // last: they use all of the above
};

}  // namespace imaged
