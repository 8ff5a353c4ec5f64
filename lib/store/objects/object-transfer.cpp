// SPDX-License-Identifier: Apache-2.0
#include "store/objects/object-transfer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "layer/expansion-limit.hpp"
#include "store/objects/file-object.hpp"

namespace imaged {

namespace {

// Of each file that is opened ahead.
constexpr off_t read_ahead_bytes = 1024 * 1024;

dev_t device_of(int fd) {
    struct stat status;
    if (::fstat(fd, &status) != 0) throw_errno("look at the objects directory");
    return status.st_dev;
}

// Nobody but root and this process's user can change the content: the target of a symbolic link never changes.
bool is_own(const struct stat& status) {
    if (S_ISLNK(status.st_mode)) return true;
    const bool owned = status.st_uid == 0 || status.st_uid == ::geteuid();
    return S_ISREG(status.st_mode) && owned && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// The object, to be hashed and linked by this descriptor; none if it is missing or must be copied.
FileDescriptor open_own(int objects, const std::string& name) {
    struct stat status;
    FileDescriptor fd(::openat(objects, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd && errno == ELOOP) fd.reset(::openat(objects, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd || ::fstat(fd.get(), &status) != 0 || !is_own(status)) return {};
    return fd;
}

// Bytes that the file NAME takes where it is stored.
std::uint64_t stored_size(int objects, const std::string& name) {
    struct stat status;
    if (::fstatat(objects, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) throw_errno("look at the object " + name);
    return stored_bytes(status);
}

}  // namespace

ObjectTransfer::ObjectTransfer(const Repository& source, const Repository& destination, StagingArea& staging,
                               WriterPool& pool, const Cancellation& cancellation)
    : source_(source),
      destination_(destination),
      staging_(staging),
      pool_(pool),
      cancellation_(cancellation),
      check_(source, cancellation),
      same_device_(device_of(source.objects()) == device_of(destination.objects())),
      same_form_(source.mode() == destination.mode()),
      clones_(same_device_) {
    source.require_image_mode();
    destination.require_image_mode();
}

TransferCounts ObjectTransfer::counts() const {
    auto counts = counts_;
    counts.linked += linked_;
    counts.present += present_;
    return counts;
}

void ObjectTransfer::add_file(const Checksum& file) {
    if (!seen_.insert(file)) return;
    if (!same_device_ || !same_form_) {
        copy_file(file);
        return;
    }
    batch_.push_back(file);
    if (batch_.size() == batch_length) submit_links();
}

void ObjectTransfer::submit_links() {
    if (batch_.empty()) return;
    const auto bytes = batch_.size() * sizeof(Checksum);
    pool_.submit(bytes, links_.add([this, batch = std::exchange(batch_, {})] { link_batch(batch); }));
}

void ObjectTransfer::link_batch(const std::vector<Checksum>& batch) {
    std::vector<Checksum> unlinkable;
    std::deque<Next> opened;
    auto next = batch.begin();
    for (const auto& checksum : batch) {
        cancellation_.check();
        while (next != batch.end() && opened.size() < opened_ahead) opened.push_back(open_ahead(*next++));
        const auto object = std::move(opened.front());
        opened.pop_front();
        switch (link_file(checksum, object)) {
            case Link::made: ++linked_; break;
            case Link::present: ++present_; break;
            case Link::impossible: unlinkable.push_back(checksum); break;
        }
    }
    if (unlinkable.empty()) return;
    const std::lock_guard lock(mutex_);
    unlinkable_.insert(unlinkable_.end(), unlinkable.begin(), unlinkable.end());
}

ObjectTransfer::Next ObjectTransfer::open_ahead(const Checksum& file) const {
    auto name = object_path(file.hex() + destination_.file_suffix());
    if (exists(destination_.objects(), name)) return {std::move(name), true, {}};
    auto object = open_own(source_.objects(), name);
    if (object) ::posix_fadvise(object.get(), 0, read_ahead_bytes, POSIX_FADV_WILLNEED);
    return {std::move(name), false, std::move(object)};
}

ObjectTransfer::Link ObjectTransfer::link_file(const Checksum& file, const Next& next) {
    if (next.is_present) return Link::present;
    if (!next.object) return Link::impossible;
    ContentSize size;
    if (const auto fault = check_.fault_of(next.object.get(), file, size))
        throw as_damage(Error(ErrorKind::failed, "object " + file.hex() + ".file of " + source_.path() + " " + *fault));
    count(size);
    return link(next.object.get(), next.name);
}

ObjectTransfer::Link ObjectTransfer::link_metadata(const std::string& name, const Checksum& checksum) {
    if (exists(destination_.objects(), name)) return Link::present;
    const auto object = open_own(source_.objects(), name);
    if (!object) return Link::impossible;
    if (sha256(read_all(object.get(), max_metadata_bytes, name)) != checksum)
        throw Error(ErrorKind::repository_damaged, "object " + name + " of " + source_.path() + " is corrupt");
    return link(object.get(), name);
}

ObjectTransfer::Link ObjectTransfer::link(int object, const std::string& name) {
    const auto path = path_of_descriptor(object);
    for (const bool again : {false, true}) {
        if (::linkat(AT_FDCWD, path.c_str(), destination_.objects(), name.c_str(), AT_SYMLINK_FOLLOW) == 0)
            return Link::made;
        switch (errno) {
            case EEXIST: return Link::present;
            case ENOENT:
                // The object's last name is gone, or the destination has no directory for it.
                if (again) return Link::impossible;
                if (::mkdirat(destination_.objects(), name.substr(0, 2).c_str(), 0775) != 0 && errno != EEXIST)
                    throw_errno("make objects/" + name.substr(0, 2));
                break;
            case EXDEV:   // another mount of the same file system
            case EMLINK:  // as many links as the file system allows
            case EPERM:   // immutable, or not ours (fs.protected_hardlinks)
            case EACCES:
            case EOPNOTSUPP: return Link::impossible;
            default: throw_errno("link the object " + name);
        }
    }
    return Link::impossible;
}

void ObjectTransfer::wait_for_links() {
    submit_links();
    links_.wait();
}

void ObjectTransfer::count(const ContentSize& size) {
    stored_ += size.stored;
    const auto content = content_ += size.content;
    in_context("the files of the image in " + source_.path(),
               [&] { require_possible_size(content, stored_, max_image_bytes); });
}

void ObjectTransfer::copy_file(const Checksum& checksum) {
    cancellation_.check();
    if (destination_.has_object(ObjectType::file, checksum)) {
        ++counts_.present;
        return;
    }
    copy_content(checksum);
    if (++staged_objects_ >= max_staged_objects || staged_bytes_ >= max_staged_bytes) publish();
}

void ObjectTransfer::copy_content(const Checksum& checksum) {
    FileObject object(source_, checksum);
    auto& sink = this->sink();
    Checksum written;
    if (object.is_symlink()) {
        written = sink.put_symlink(object.meta(), object.target());
    } else {
        const auto name = checksum.hex() + source_.file_suffix();
        const ContentSize size{object.size(), stored_size(source_.objects(), object_path(name))};
        try {
            require_possible_size(size.content, size.stored, max_layer_bytes);
        } catch (const Error& error) {
            throw Error(ErrorKind::repository_damaged,
                        "object " + name + " of " + source_.path() + ": " + error.what());
        }
        count(size);
        if (const auto file = object.content_fd(); file && clones_ && object.size() > 0) {
            if (sink.clone_file(checksum, object.meta(), *file)) {
                ++counts_.reflinked;
                return;
            }
            clones_ = false;
        }
        destination_.require_space(object.size());
        std::vector<std::byte> buffer;
        if (object.size() <= ObjectSink::max_small_bytes) {
            buffer.resize(object.size());
            buffer.resize(object.read(buffer));
            written = sink.put_file(object.meta(), std::move(buffer));
        } else {
            const auto file = sink.begin_large(object.meta(), object.size());
            buffer.resize(copy_bytes);
            // Not more than it began with: its owner may add to it all the while.
            for (auto left = object.size(); left > 0;) {
                cancellation_.check();
                const auto count = object.read(std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size())));
                if (count == 0) break;
                file->append(std::span(buffer).first(count));
                left -= count;
            }
            written = file->finish();
        }
        counts_.bytes_copied += object.size();
        staged_bytes_ += object.size();
    }
    if (written != checksum)
        throw Error(ErrorKind::repository_damaged, "object " + checksum.hex() + ".file of " + source_.path() +
                                                       " is corrupt: it has the checksum " + written.hex());
    ++counts_.copied;
}

void ObjectTransfer::finish_files() {
    wait_for_links();
    for (const auto& checksum : std::exchange(unlinkable_, {})) copy_file(checksum);
    publish();
}

void ObjectTransfer::add_metadata(ObjectType type, const Checksum& checksum) {
    cancellation_.check();
    // The same bytes in every mode.
    if (same_device_) {
        switch (link_metadata(object_path(object_name(checksum, type)), checksum)) {
            case Link::made: ++linked_; return;
            case Link::present: ++present_; return;
            case Link::impossible: break;
        }
    }
    if (destination_.has_object(type, checksum)) {
        ++counts_.present;
        return;
    }
    sink().put_metadata(type, source_.require_metadata(type, checksum));
    ++staged_objects_;
    ++counts_.copied;
}

ObjectSink& ObjectTransfer::sink() {
    if (!sink_) sink_ = destination_.make_sink(staging_, pool_);
    return *sink_;
}

void ObjectTransfer::publish() {
    if (!sink_) return;
    sink_->flush();
    destination_.sync();
    sink_->publish();
    sink_.reset();
    staged_objects_ = staged_bytes_ = 0;
}

}  // namespace imaged
