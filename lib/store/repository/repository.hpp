// SPDX-License-Identifier: Apache-2.0
// An OSTree repository as the store uses it: refs, commits, locks and the right sink for its mode.
//
// Belongs to one thread, but for the members that say otherwise. Reading takes no lock. Errors:
// Error(repository_damaged) for what cannot be read.
#pragma once

#include <ostree.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "base/glib.hpp"
#include "layer/object-sink.hpp"
#include "layer/staging-area.hpp"
#include "layer/writer-pool.hpp"
#include "store/files/ref-file.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

class Repository {
public:
    // Throws Error(repository_damaged) when PATH is not an OSTree repository.
    explicit Repository(const std::string& path);
    // Returns nullopt if there is no repository yet (repository-creation.hpp); otherwise as the constructor.
    static std::optional<Repository> open_existing(const std::string& path);
    // Does what make_repository() does.
    static void create(const std::string& path);
    static Repository open_or_create(const std::string& path);

    const std::string& path() const { return path_; }
    std::string mode() const;
    // Throws Error(unsupported_image) unless the mode keeps owners, modes and attributes, and libostree can write it.
    void require_image_mode() const;
    // The directory. Owned by the repository.
    int fd() const { return ostree_repo_get_dfd(repo_.get()); }
    // Its objects directory, likewise, and what the name of a file object ends in there.
    int objects() const { return objects_.get(); }
    std::string file_suffix() const;
    // Whether objects may be in another repository that this one's configuration names (core.parent).
    bool has_parent() const { return ostree_repo_get_parent(repo_.get()) != nullptr; }
    // libostree's own handle, for what reads objects through it. Owned by the repository.
    OstreeRepo* handle() const { return repo_.get(); }

    // Lets WRITER change the repository for the rest of the job, in place of this process. Null has no effect.
    void write_through(std::shared_ptr<RepositoryWriter> writer) {
        if (writer) writer_ = std::move(writer);
    }
    RepositoryWriter& writer() const { return *writer_; }
    std::unique_ptr<StagingArea> make_staging() const { return writer_->make_staging(); }

    // The commit that a ref names. Follows aliases.
    RefTarget resolve(const std::string& ref) const;
    // Every ref below PREFIX.
    Refs refs(const std::string& prefix, UnreadableRefs* unreadable = nullptr) const;
    // Every ref of this repository, mirrored and remote ones too (remotes' as REMOTE:NAME). Throws where a directory
    // of refs that imaged writes is missing behind a symbolic link: its refs are not known. With LINKS_LEAD_SOMEWHERE it
    // throws for every link that leads nowhere; by default such a link is a broken ref.
    Refs all_refs(bool links_lead_somewhere = false) const;
    // Refs that are aliases of others (`ostree refs --alias`), and what they lead to.
    std::map<std::string, std::string> aliases(UnreadableRefs* unreadable = nullptr) const;
    // No COMMIT removes the ref. Throws Error(repository_damaged) if other refs are below it.
    void set_ref(const std::string& ref, const std::optional<Checksum>& commit) { writer_->set_ref(ref, commit); }
    void set_refs(const std::map<std::string, Checksum>& refs) { writer_->set_refs(refs); }

    struct Commit {
        VariantPtr metadata;  // a{sv}
        std::optional<Checksum> parent;
        std::uint64_t timestamp = 0;
        Checksum tree, meta;
        // A text of the metadata; nullopt if it is absent or not a string.
        std::optional<std::string> text(const char* key) const;
    };
    Commit load_commit(const Checksum& checksum) const;
    // BYTES of the commit object CHECKSUM.
    static Commit parse_commit(const std::string& bytes, const Checksum& checksum);
    // Returns nullopt if the object is absent. Otherwise it has been parsed, and its checksum verified.
    std::optional<std::string> load_metadata(ObjectType type, const Checksum& checksum) const;
    // The same, but throws Error(repository_damaged) if the object is absent.
    std::string require_metadata(ObjectType type, const Checksum& checksum) const;
    bool has_object(ObjectType type, const Checksum& checksum) const;
    // Throws Error(repository_damaged) where the object is a pipe, for which libostree would wait.
    void require_no_pipe(const Checksum& checksum, const std::string& suffix) const;
    // Text of a file object; nullopt for a symbolic link, or if it is longer than LIMIT.
    std::optional<std::string> read_text(const Checksum& file, std::size_t limit) const;
    // Serialised a{sv}; nullopt if the commit has no detached metadata.
    std::optional<std::string> detached_metadata(const Checksum& commit) const;
    void write_detached_metadata(const Checksum& commit, const std::string& serialised) {
        writer_->write_detached_metadata(commit, serialised);
    }
    // Also deletes its detached metadata and the mark of a partial commit. Leaves a tombstone if the configuration says
    // so (core.tombstone-commits).
    void delete_commit(const Checksum& commit) const;
    bool writes_tombstones() const;

    // libostree's lock of the repository: shared for writing, exclusive for removing objects. Waits for as long as the
    // repository's configuration says (lock-timeout-secs), then throws Error(failed).
    using LockKind = imaged::LockKind;
    class Lock {
    public:
        Lock(Repository& repository, LockKind kind);
        ~Lock();
        Lock& operator=(Lock&&) = delete;

    private:
        Repository& repository_;
        const LockKind kind_;
    };

    // Whether no process holds the lock at this moment.
    bool is_unlocked() const;
    // Before an exclusive lock is taken: waits as long as the configuration says (lock-timeout-secs), or half a minute
    // where it sets no limit. Throws Error(failed) then.
    void wait_until_unlocked(const Cancellation& cancellation) const;

    // The number of layers of WANTED that may be imported at once: libostree's own writer has one transaction.
    unsigned layers_at_once(unsigned wanted = 2) const;
    // Throws Error(unsupported_image) for a mode that cannot hold a container image. Thread-safe if layers_at_once() is
    // more than one.
    std::unique_ptr<ObjectSink> make_sink(StagingArea& staging, WriterPool& pool) const;
    // Makes everything written so far durable, unless the repository's configuration says not to (core.fsync).
    // Thread-safe.
    void sync() const;
    // After a job's last ref. It has done what it was asked for, and is not undone by a disk that fails now: what was
    // written before is durable (sync()). Throws Error(failed) as sync() does where the repository was replaced.
    void settle() const;
    // Keeps at least BYTES free from now on.
    void reserve(std::uint64_t bytes) { reserve_ = std::max(reserve_, bytes); }
    // Throws Error(no_space) unless BYTES more fit besides the reserve that the repository's configuration names
    // (min-free-space). Thread-safe.
    void require_space(std::uint64_t bytes) const;

private:
    // Longest wait for a lock.
    std::chrono::seconds lock_limit() const;

    std::string path_;
    GObjectPtr<OstreeRepo> repo_;
    std::shared_ptr<RepositoryWriter> writer_;
    FileDescriptor objects_;
    bool fsync_ = true;
    std::uint64_t reserve_ = 0;
};

}  // namespace imaged
