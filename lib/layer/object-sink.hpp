// SPDX-License-Identifier: Apache-2.0
// The interface for writing a layer's objects: they are staged, invisible to readers of the repository, until the layer
// is verified, and discarded if it fails.
//
// A sink belongs to the thread that fills it. Objects that the repository has already are not written again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/checksum.hpp"
#include "layer/object.hpp"

namespace imaged {

class HashBacklog;

struct SinkCounts {
    std::uint64_t objects_written = 0, objects_reused = 0;
    std::uint64_t bytes_written = 0;      // content of files
    std::uint64_t objects_reflinked = 0;  // of those written: they share their content with another object

    SinkCounts& operator+=(const SinkCounts& other) {
        objects_written += other.objects_written;
        objects_reused += other.objects_reused;
        bytes_written += other.bytes_written;
        objects_reflinked += other.objects_reflinked;
        return *this;
    }
};

class ObjectSink {
public:
    virtual ~ObjectSink() = default;

    // Lets the writer hash file contents together with BACKLOG, until this is called again; null for no backlog.
    virtual void hash_beside(HashBacklog*) {}
    // Calls CHECK for each regular file that is put here and is in the repository already. CHECK throws if that object
    // must not be used. Not called in archive repositories.
    using CheckPresent = std::function<void(const Checksum&)>;
    virtual void check_present(const CheckPresent&) {}

    // Content up to this size is handed over whole; more goes through begin_large().
    static constexpr std::size_t max_small_bytes = 128 * 1024;

    // A regular file. Returns the object's checksum; the writing may still be under way.
    virtual Checksum put_file(const FileMeta& meta, std::vector<std::byte> content) = 0;
    virtual Checksum put_symlink(const FileMeta& meta, const std::string& target) = 0;
    virtual Checksum put_metadata(ObjectType type, std::string_view bytes) = 0;

    // A regular file of any size, piece by piece. Dropped unless finish() was called.
    class LargeFile {
    public:
        virtual ~LargeFile() = default;
        // Returns how many bytes of this piece, or of earlier ones, take no room: long runs of zeros.
        virtual std::uint64_t append(std::span<const std::byte> piece) = 0;
        // Its content may be that of FILE, of the same file system: if it is, it shares the blocks of that where the
        // file system can (FICLONE). FILE is borrowed until finish() and may be anything: it is not trusted. Called
        // before append(), nothing is written until finish() has found that the repository lacks the object: then
        // finish() copies FILE, if it cannot be shared, and throws Error(corrupt_input) if its content is another.
        virtual void try_to_share(int) {}
        virtual Checksum finish() = 0;
    };
    // SIZE is what the stream promises; a stream that gives another amount fails in finish().
    virtual std::unique_ptr<LargeFile> begin_large(const FileMeta& meta, std::uint64_t size) = 0;

    // Writes a regular file that shares its content with the file CONTENT of the same file system (FICLONE). Does
    // nothing and returns false if that is not possible, or if the file would not have CHECKSUM.
    virtual bool clone_file(const Checksum& checksum, const FileMeta& meta, int content) = 0;

    // Reads back what was put here or is in the repository. Throw Error(repository_damaged) when it is in neither.
    virtual std::string read_metadata(ObjectType type, const Checksum& checksum) = 0;
    virtual std::optional<std::string> read_symlink(const Checksum& checksum) = 0;  // nullopt for a regular file
    // Bytes of a regular file; nullopt for a symbolic link.
    virtual std::optional<std::uint64_t> file_size(const Checksum& checksum) = 0;
    // Whether a file object is here or in the repository.
    virtual bool has_file(const Checksum& checksum) = 0;
    // The file object is in the repository when this is published, by another sink: it must still be there then.
    virtual void expect_file(const Checksum&) {}

    // Returns a sink beside this one for objects that may be discarded; adopt() moves an object from it to this sink.
    virtual std::unique_ptr<ObjectSink> side_sink() = 0;
    virtual void adopt(const Checksum& file, ObjectSink& side) = 0;
    // Drops dirtrees that were put here and are not in KEEP.
    virtual void retain_dirtrees(const std::unordered_set<Checksum>& keep) = 0;

    // Waits until everything put so far is written; throws the first failure.
    virtual void flush() = 0;
    // Moves everything into the repository: commits last, when all else was seen there and BEFORE_COMMITS has been
    // called. The caller made the staged data durable before and makes the names durable after.
    virtual void publish(const std::function<void()>& before_commits) = 0;
    void publish() {
        publish([] {});
    }
    virtual SinkCounts counts() const = 0;
};

// Gives the sink for a file of SIZE bytes that comes next. It is not used any more when the next one is asked for.
using SinkOfFile = std::function<ObjectSink&(std::uint64_t size)>;

}  // namespace imaged
