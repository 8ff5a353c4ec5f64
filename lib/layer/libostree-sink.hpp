// SPDX-License-Identifier: Apache-2.0
// Writes objects through libostree, for the repository mode whose format the direct sink does not write (archive).
//
// libostree writes to a repository of the sink's own in a scratch directory, whose parent the real one is; publishing
// moves the objects from there. Only one such sink is filled at a time: libostree's caches are big.
#pragma once

#include <ostree.h>

#include "base/glib.hpp"
#include "layer/object-sink.hpp"
#include "layer/staged-objects.hpp"

namespace imaged {

OstreeObjectType libostree_type(ObjectType type);

class LibostreeSink : public ObjectSink {
public:
    // REPOSITORY and its objects directory OBJECTS are borrowed.
    LibostreeSink(OstreeRepo* repository, int objects, StagingArea& staging);
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
    std::unique_ptr<ObjectSink> side_sink() override {
        return std::unique_ptr<ObjectSink>(new LibostreeSink(objects_directory_, scratch_, repository_.get()));
    }
    void adopt(const Checksum& file, ObjectSink&) override { objects_.add(file, ObjectType::file); }
    void retain_dirtrees(const std::unordered_set<Checksum>&) override {}
    void flush() override {}
    void publish(const std::function<void()>& before_commits) override;
    SinkCounts counts() const override { return counts_; }

private:
    class Large;
    // Shares the transaction of REPOSITORY.
    LibostreeSink(int objects, std::shared_ptr<Scratch> scratch, OstreeRepo* repository);
    void collect() const;
    GObjectPtr<GFileInfo> file_info(const Checksum& checksum) const;
    bool has_object(const Checksum& checksum, ObjectType type) const;
    Checksum write_content(const FileMeta& meta, GInputStream* content, std::uint64_t size);
    const int objects_directory_;
    const std::shared_ptr<Scratch> scratch_;  // shared with its side sinks
    GObjectPtr<OstreeRepo> repository_;       // none after publish(): libostree keeps files open for writing
    bool open_ = false;
    StagedObjects objects_{true};
    SinkCounts counts_;
};

}  // namespace imaged
