// SPDX-License-Identifier: Apache-2.0
#include "layer/direct-sink.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/file-hash.hpp"
#include "layer/hash-backlog.hpp"
#include "layer/metadata-limit.hpp"
#include "layer/sparse-writer.hpp"

namespace imaged {

namespace {

constexpr std::size_t copy_bytes = std::size_t{256} * 1024;

void clear_mtime(int fd) {
    // libostree's objects carry mtime 0, so that a hard-link checkout is reproducible.
    const timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
    if (::futimens(fd, times) != 0) throw_errno("set the time of an object");
}

// The kernel and the file system decide which attributes there can be; what they refuse the image should not have.
// FILE_SYSTEM is any descriptor of it.
[[noreturn]] void refused_xattr(int file_system, const std::string& name, std::size_t size, const char* where) {
    const int reason = errno;
    const auto what = "set the extended attribute " + name + " of " + std::to_string(size) + " bytes on " + where;
    if (reason == EINVAL || reason == ERANGE || reason == EOPNOTSUPP || reason == E2BIG)
        throw Error(ErrorKind::unsupported_image, system_error(reason, what).what());
    // ext4 has room for some 4 KiB of attributes in a file, and says the same when the disk is full.
    constexpr std::uint64_t enough = 16 * 1024 * 1024;
    struct statvfs status;
    if (reason == ENOSPC && ::fstatvfs(file_system, &status) == 0 &&
        std::uint64_t{status.f_bavail} * status.f_frsize > enough)
        throw Error(ErrorKind::unsupported_image, "cannot " + what +
                                                      ": the file system of the repository has no room for that many "
                                                      "bytes of attributes in one file");
    throw system_error(reason, what);
}

}  // namespace

DirectSink::DirectSink(DirectFormat format, int objects, std::shared_ptr<Scratch> scratch, WriterPool& pool)
    : format_(format), objects_(objects), scratch_(std::move(scratch)), pool_(pool) {}

int DirectSink::directory(std::size_t place) const {
    auto& directory = directories_[place];
    std::call_once(directory.once, [&] {
        directory.owner = scratch_->make_directory(directory.number);
        directory.descriptor = directory.owner.get();
    });
    return directory.descriptor;
}

FileDescriptor DirectSink::try_open_staged(const Checksum& checksum, ObjectType type, int flags) const {
    const int directory = directories_[place_of(checksum)].descriptor;
    return directory < 0 ? FileDescriptor() : try_open_at(directory, staged_name(checksum, type), flags);
}

bool DirectSink::in_repository(const Checksum& checksum, ObjectType type) const {
    return has_object_at(objects_, object_path(checksum, type));
}

bool DirectSink::reuse(const Checksum& checksum, ObjectType type) {
    if (!in_repository(checksum, type)) return false;
    staged_.add_present(checksum, type);
    return true;
}

bool DirectSink::reuse_file(const Checksum& checksum) {
    if (!reuse(checksum, ObjectType::file)) return false;
    if (check_present_) check_present_(checksum);
    ++objects_reused_;
    return true;
}

void DirectSink::count_written(std::uint64_t bytes) {
    ++objects_written_;
    bytes_written_ += bytes;
}

void DirectSink::hash(PairedSha256& hash, std::span<const std::byte> bytes) {
    if (backlog_ == nullptr) return hash.update(bytes);
    backlog_->update_beside(hash, bytes);
}

Checksum DirectSink::put_file(const FileMeta& meta, std::vector<std::byte> content) {
    small_hash_.update(file_header(meta, {}));
    hash(small_hash_, content);
    const auto checksum = small_hash_.finish();
    if (reuse_file(checksum)) return checksum;
    const auto size = content.size();
    auto task =
        writes_.add([this, checksum, meta, content = std::move(content)] { write_file(checksum, meta, content); });
    staged_.add(checksum, ObjectType::file);
    pool_.submit(size, std::move(task));
    return checksum;
}

void DirectSink::write_file(const Checksum& checksum, const FileMeta& meta, std::span<const std::byte> content) {
    const auto name = staged_name(checksum, ObjectType::file);
    // Nobody else can look into the scratch directory, so the mode may be right from the start, but for what
    // set_metadata() needs; it sees to what the umask takes away.
    const mode_t mode = object_mode(meta) | (format_ == DirectFormat::bare_user ? S_IWUSR : 0);
    const FileDescriptor fd(::openat(directory(checksum), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!fd) {
        if (errno == EEXIST) return;  // the same content twice in one layer
        throw_errno("create an object");
    }
    if (!content.empty()) write_all(fd.get(), content, "an object");
    set_metadata(fd.get(), meta);
    count_written(content.size());
}

mode_t DirectSink::object_mode(const FileMeta& meta) const {
    if (format_ == DirectFormat::bare) return meta.mode & 07777;
    // What libostree leaves of the mode: no setuid, always readable by its owner.
    return S_ISLNK(meta.mode) ? 0644 : (meta.mode & 0775) | 0400;
}

void DirectSink::set_metadata(int fd, const FileMeta& meta) const {
    struct stat status;
    if (::fstat(fd, &status) != 0) throw_errno("look at an object");
    const auto set_xattr = [&](const std::string& name, std::string_view value) {
        if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0)
            refused_xattr(fd, name, value.size(), "an object");
    };
    // In this order: without root's capabilities a user.* attribute wants a file that its owner may write, chown clears
    // setuid and file capabilities, and an ACL would be changed by chmod. Each is a transaction of the file system, so
    // what is right already is left alone.
    if (format_ == DirectFormat::bare_user) set_xattr("user.ostreemeta", serialise_user_meta(meta));
    bool changed_owner = false;
    if (format_ == DirectFormat::bare && (status.st_uid != meta.uid || status.st_gid != meta.gid)) {
        if (::fchown(fd, meta.uid, meta.gid) != 0) throw_errno("set the owner of an object");
        changed_owner = true;
    }
    const auto mode = object_mode(meta);
    if ((changed_owner && (mode & 06000) != 0) || (status.st_mode & 07777) != mode) {
        if (::fchmod(fd, mode) != 0) throw_errno("set the mode of an object");
    }
    if (format_ == DirectFormat::bare) {
        for (const auto& [name, value] : xattr_list(meta.xattrs)) set_xattr(name, value);
    }
    clear_mtime(fd);
}

Checksum DirectSink::put_symlink(const FileMeta& meta, const std::string& target) {
    const auto checksum = sha256(file_header(meta, target));
    if (reuse(checksum, ObjectType::file)) {
        ++objects_reused_;
        return checksum;
    }
    staged_.add(checksum, ObjectType::file);
    if (format_ == DirectFormat::bare_user) {
        write_file(checksum, meta, std::as_bytes(std::span(target)));
        return checksum;
    }
    const auto name = staged_name(checksum, ObjectType::file);
    if (::symlinkat(target.c_str(), directory(checksum), name.c_str()) != 0) {
        if (errno == EEXIST) return checksum;
        throw_errno("create a symbolic link object");
    }
    if (::fchownat(directory(checksum), name.c_str(), meta.uid, meta.gid, AT_SYMLINK_NOFOLLOW) != 0)
        throw_errno("set the owner of a symbolic link");
    if (meta.xattrs) {
        // There is no descriptor for a symbolic link that xattr calls take.
        const auto path = path_of_descriptor(directory(checksum)) + "/" + name;
        for (const auto& [key, value] : xattr_list(meta.xattrs)) {
            if (::lsetxattr(path.c_str(), key.c_str(), value.data(), value.size(), 0) != 0)
                refused_xattr(directory(checksum), key, value.size(), "a symbolic link");
        }
    }
    const timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
    ::utimensat(directory(checksum), name.c_str(), times, AT_SYMLINK_NOFOLLOW);
    count_written(0);
    return checksum;
}

Checksum DirectSink::put_metadata(ObjectType type, std::string_view bytes) {
    check_metadata_size(type, bytes.size());
    const auto checksum = sha256(bytes);
    if (reuse(checksum, type)) return checksum;
    staged_.add(checksum, type);
    const auto name = staged_name(checksum, type);
    const FileDescriptor fd(::openat(directory(checksum), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) {
        if (errno == EEXIST) return checksum;
        throw_errno("create an object");
    }
    write_all(fd.get(), std::as_bytes(std::span(bytes)), "an object");
    struct stat status;
    if (::fstat(fd.get(), &status) != 0 || ((status.st_mode & 07777) != 0644 && ::fchmod(fd.get(), 0644) != 0))
        throw_errno("set the mode of an object");
    ++objects_written_;
    return checksum;
}

class DirectSink::Large : public ObjectSink::LargeFile {
public:
    Large(DirectSink& sink, const FileMeta& meta, std::uint64_t size) : sink_(sink), meta_(meta), size_(size) {
        hash_.update(file_header(meta, {}));
    }
    ~Large() override {
        if (fd_) ::unlinkat(directory(), name_.c_str(), 0);
    }

    std::uint64_t append(std::span<const std::byte> piece) override {
        sink_.hash(hash_, piece);
        if (!writer_) create();
        return writer_->append(piece);
    }

    void try_to_share(int file) override {
        same_ = file;
        // The bytes to come are counted; written is the file, if its content is to be.
        if (!writer_ && is_same_size()) writer_.emplace(std::nullopt);
    }

    Checksum finish() override {
        if (!writer_) create();
        writer_->finish();
        require_size();
        const auto checksum = hash_.finish();
        // The destructor drops the copy.
        if (sink_.reuse_file(checksum) || is_shared(checksum)) return checksum;
        if (!fd_) copy_same(checksum);
        sink_.set_metadata(fd_.get(), meta_);
        if (::renameat(directory(), name_.c_str(), sink_.directory(checksum),
                       staged_name(checksum, ObjectType::file).c_str()) != 0)
            throw_errno("name an object");
        sink_.staged_.add(checksum, ObjectType::file);
        sink_.count_written(size_);
        fd_.reset();
        return checksum;
    }

private:
    // Its checksum is not known yet.
    int directory() const { return sink_.directory(0); }
    bool is_same_size() const {
        struct stat status;
        return same_ && ::fstat(*same_, &status) == 0 && static_cast<std::uint64_t>(status.st_size) == size_;
    }
    bool is_shared(const Checksum& checksum) const {
        return is_same_size() && sink_.clone_file(checksum, meta_, *same_);
    }
    void require_size() const {
        if (writer_->size() != size_)
            throw Error(ErrorKind::corrupt_input, "a file has another size than its header says");
    }
    void create() {
        name_ = "large-" + std::to_string(sink_.large_files_++);
        fd_.reset(::openat(directory(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!fd_) throw_errno("create an object");
        writer_.emplace(fd_.get());
    }
    // Its bytes were hashed as they came, and not written.
    void copy_same(const Checksum& checksum) {
        const int same = same_.value();
        create();
        std::vector<std::byte> buffer(copy_bytes);
        hash_.update(file_header(meta_, {}));
        for (std::uint64_t position = 0; position < size_;) {
            const auto count = ::pread(same, buffer.data(), buffer.size(), static_cast<off_t>(position));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) throw_errno("read an object");
            if (count == 0) break;
            const auto piece = std::span(buffer).first(static_cast<std::size_t>(count));
            hash_.update(piece);
            writer_->append(piece);
            position += piece.size();
        }
        writer_->finish();
        if (hash_.finish() != checksum)
            throw Error(ErrorKind::corrupt_input, "a file of the repository changed while it was copied");
    }

    DirectSink& sink_;
    const FileMeta meta_;
    const std::uint64_t size_;
    std::string name_;
    FileDescriptor fd_;  // empty until bytes are written
    std::optional<int> same_;
    std::optional<SparseWriter> writer_;
    PairedSha256 hash_;
};

std::unique_ptr<ObjectSink::LargeFile> DirectSink::begin_large(const FileMeta& meta, std::uint64_t size) {
    return std::make_unique<Large>(*this, meta, size);
}

bool DirectSink::clone_file(const Checksum& checksum, const FileMeta& meta, int content) {
    if (!clones_) return false;
    const auto name = staged_name(checksum, ObjectType::file);
    const FileDescriptor fd(::openat(directory(checksum), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) {
        if (errno == EEXIST) return true;
        throw_errno("create an object");
    }
    const auto drop = [&] {
        ::unlinkat(directory(checksum), name.c_str(), 0);
        return false;
    };
    if (::ioctl(fd.get(), FICLONE, content) != 0) {
        // One that is full may share again, or elsewhere; all else is true of each file.
        clones_ = errno == ENOSPC || errno == EDQUOT;
        return drop();
    }
    // Of the clone: the original may change. After a throw nothing of this sink is published.
    struct stat status;
    if (::fstat(fd.get(), &status) != 0) throw_errno("look at an object");
    require_possible_size(static_cast<std::uint64_t>(status.st_size), stored_bytes(status), max_layer_bytes);
    if (hash_file(meta, fd.get()) != checksum) return drop();
    set_metadata(fd.get(), meta);
    staged_.add(checksum, ObjectType::file);
    ++objects_written_;
    ++objects_reflinked_;
    return true;
}

FileDescriptor DirectSink::open_object(const Checksum& checksum, ObjectType type, int flags) const {
    auto fd = try_open_staged(checksum, type, flags);
    if (!fd) fd = try_open_at(objects_, object_path(checksum, type), flags);
    if (!fd) throw Error(ErrorKind::repository_damaged, "object " + staged_name(checksum, type) + " is missing");
    return fd;
}

std::string DirectSink::read_metadata(ObjectType type, const Checksum& checksum) {
    const auto fd = open_object(checksum, type, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    auto bytes = read_all(fd.get(), max_metadata_bytes, staged_name(checksum, type));
    if (sha256(bytes) != checksum)
        throw Error(ErrorKind::repository_damaged, "object " + staged_name(checksum, type) + " is corrupt");
    return bytes;
}

bool DirectSink::has_file(const Checksum& checksum) {
    if (in_repository(checksum, ObjectType::file)) return true;
    flush();
    return bool(try_open_staged(checksum, ObjectType::file, O_PATH | O_NOFOLLOW));
}

std::optional<std::string> DirectSink::read_symlink(const Checksum& checksum) {
    // O_PATH opens the link itself.
    flush();
    const auto fd = open_object(checksum, ObjectType::file, O_PATH | O_NOFOLLOW);
    if (format_ == DirectFormat::bare) {
        std::array<char, PATH_MAX> target;
        const auto size = ::readlinkat(fd.get(), "", target.data(), target.size());
        if (size < 0) {
            if (errno == EINVAL || errno == ENOENT) return std::nullopt;
            throw_errno("read a symbolic link");
        }
        return std::string(target.data(), static_cast<std::size_t>(size));
    }
    const auto path = path_of_descriptor(fd.get());
    std::vector<char> user_meta(XATTR_SIZE_MAX);
    const auto size = ::getxattr(path.c_str(), "user.ostreemeta", user_meta.data(), user_meta.size());
    if (size < 0) throw_errno("read user.ostreemeta");
    if (!S_ISLNK(parse_dirmeta({user_meta.data(), static_cast<std::size_t>(size)}).mode)) return std::nullopt;
    return read_all(open_object(checksum, ObjectType::file, O_RDONLY | O_NONBLOCK).get(), PATH_MAX,
                    "a symbolic link object");
}

std::optional<std::uint64_t> DirectSink::file_size(const Checksum& checksum) {
    flush();
    // In bare-user repositories a link is a file too.
    if (format_ == DirectFormat::bare_user && read_symlink(checksum)) return std::nullopt;
    struct stat status;
    const auto fd = open_object(checksum, ObjectType::file, O_PATH | O_NOFOLLOW);
    if (::fstat(fd.get(), &status) != 0) throw_errno("look at an object");
    if (S_ISLNK(status.st_mode)) return std::nullopt;
    return static_cast<std::uint64_t>(status.st_size);
}

std::unique_ptr<ObjectSink> DirectSink::side_sink() {
    std::unique_ptr<DirectSink> side(new DirectSink(format_, objects_, scratch_, pool_));
    side->hash_beside(backlog_);
    side->check_present(check_present_);
    return side;
}

void DirectSink::adopt(const Checksum& file, ObjectSink& side) {
    side.flush();
    auto& other = dynamic_cast<DirectSink&>(side);
    const auto name = staged_name(file, ObjectType::file);
    // Absent: it was adopted before, or is in the repository.
    if (::renameat(other.directory(file), name.c_str(), directory(file), name.c_str()) != 0 && errno != ENOENT)
        throw_errno("move an object");
    staged_.add(file, ObjectType::file);
}

void DirectSink::retain_dirtrees(const std::unordered_set<Checksum>& keep) {
    staged_.retain_dirtrees(keep, [&](const Checksum& checksum) {
        ::unlinkat(directory(checksum), staged_name(checksum, ObjectType::dirtree).c_str(), 0);
    });
}

void DirectSink::publish(const std::function<void()>& before_commits) {
    flush();
    staged_.publish(
        *scratch_, objects_, [&](const Checksum& checksum) { return directories_[place_of(checksum)].number; },
        before_commits);
}

}  // namespace imaged
