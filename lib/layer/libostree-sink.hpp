// SPDX-License-Identifier: Apache-2.0
// Writes objects through libostree, for repository modes whose format the direct sink does not write (archive,
// bare-split-xattrs).
//
// libostree has one transaction per repository handle, so only one such sink may be filled at a time, and publish() is
// its commit. libostree publishes what it finds in its scratch directory, in the order of a listing, so commits are
// kept back here until everything else has been seen in its place.
#pragma once

#include <ostree.h>

#include <map>

#include "layer/object-sink.hpp"
#include "layer/staged-objects.hpp"

namespace imaged {

class LibostreeSink : public ObjectSink {
public:
    // REPOSITORY is borrowed. Starts a transaction unless SHARES_TRANSACTION.
    explicit LibostreeSink(OstreeRepo* repository, bool shares_transaction = false);
    // Aborts what was not published.
    ~LibostreeSink() override;

    Checksum put_file(const FileMeta& meta, std::vector<std::byte> content) override;
    Checksum put_symlink(const FileMeta& meta, const std::string& target) override;
    Checksum put_metadata(ObjectType type, std::string_view bytes) override;
    std::unique_ptr<LargeFile> begin_large(const FileMeta& meta, std::uint64_t size) override;
    bool clone_file(const Checksum&, const FileMeta&, int) override { return false; }
    std::string read_metadata(ObjectType type, const Checksum& checksum) override;
    std::optional<std::string> read_symlink(const Checksum& checksum) override;
    std::optional<std::uint64_t> file_size(const Checksum& checksum) override;
    bool has_file(const Checksum& checksum) override { return has_object(checksum, ObjectType::file); }
    // Content that is not adopted stays in the repository as an unreferenced object until the next prune.
    std::unique_ptr<ObjectSink> limbo() override { return std::make_unique<LibostreeSink>(repository_, true); }
    void adopt(const Checksum& file, ObjectSink&) override { objects_.add(file, ObjectType::file); }
    void retain_dirtrees(const std::unordered_set<Checksum>&) override {}
    void flush() override {}
    using ObjectSink::publish;
    void publish(const std::function<void()>& before_commits) override;
    SinkCounts counts() const override { return counts_; }

private:
    class Large;
    bool has_object(const Checksum& checksum, ObjectType type) const;
    void begin();
    void commit();
    void write_metadata(ObjectType type, const Checksum& checksum, std::string_view bytes);
    Checksum write_content(const FileMeta& meta, GInputStream* content, std::uint64_t size);
    OstreeRepo* const repository_;
    const bool owns_transaction_;
    bool open_ = false;
    StagedObjects objects_;
    std::map<Checksum, std::string> commits_;
    SinkCounts counts_;
};

}  // namespace imaged
