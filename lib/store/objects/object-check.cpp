// SPDX-License-Identifier: Apache-2.0
#include "store/objects/object-check.hpp"

#include <fcntl.h>
#include <gio/gunixinputstream.h>
#include <linux/limits.h>
#include <ostree.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/glib.hpp"
#include "base/system-failure.hpp"
#include "layer/expansion-limit.hpp"
#include "store/objects/file-object.hpp"

namespace imaged {

namespace {

constexpr std::size_t buffer_bytes = 256 * 1024;
constexpr const char* label_name = "security.selinux";

// What the kernel knows of FD, which may be a symbolic link opened with O_PATH.
Xattrs read_xattrs(int fd, bool with_label) {
    const auto path = path_of_descriptor(fd);
    // Clearing them for each of many small files would take longer than to read these.
    thread_local std::vector<char> names(XATTR_LIST_MAX), value(XATTR_SIZE_MAX);
    const auto size = ::listxattr(path.c_str(), names.data(), names.size());
    if (size < 0) {
        if (errno == ENOTSUP) return nullptr;
        throw_errno("list its extended attributes");
    }
    std::vector<std::pair<std::string, std::string>> list;
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(list.back().first.size()) + 1) {
        const char* name = names.data() + at;
        const auto length = ::getxattr(path.c_str(), name, value.data(), value.size());
        if (length < 0) throw_errno(std::string("read its extended attribute ") + name);
        list.emplace_back(name, std::string(value.data(), static_cast<std::size_t>(length)));
    }
    // libostree reads no attribute without a value, so neither does what is to agree with it.
    std::erase_if(
        list, [&](const auto& entry) { return entry.second.empty() || (!with_label && entry.first == label_name); });
    std::sort(list.begin(), list.end());
    return make_xattrs(list);
}

std::size_t read_some(int fd, std::span<std::byte> buffer) {
    for (;;) {
        const auto count = ::read(fd, buffer.data(), buffer.size());
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno != EINTR) throw_errno("read its content");
    }
}

// Returns the checksum of a regular file with META, whose content READ reads piece by piece. What is longer than SIZE
// says is not read to its end: its owner may add to it all the while.
template <typename Read>
Checksum hash_content(const FileMeta& meta, const ContentSize& size, const Cancellation& cancellation, Read read) {
    require_possible_size(size.content, size.stored, max_layer_bytes);
    thread_local std::vector<std::byte> buffer(buffer_bytes);
    Sha256 hash;
    hash.update(file_header(meta, {}));
    for (auto left = size.content;;) {
        cancellation.check();
        const auto count = read(std::span(buffer));
        if (count == 0) return hash.finish();
        if (count > left) throw Error(ErrorKind::failed, "it changes while it is read");
        left -= count;
        hash.update(std::span(buffer).first(count));
    }
}

Checksum hash_link(const FileMeta& meta, const std::string& target) {
    return sha256(file_header(meta, target));
}

std::string read_target(int link) {
    std::array<char, PATH_MAX> target;
    const auto size = ::readlinkat(link, "", target.data(), target.size());
    if (size < 0) throw_errno("read the symbolic link");
    return std::string(target.data(), static_cast<std::size_t>(size));
}

struct stat status_of(int fd) {
    struct stat status;
    if (::fstat(fd, &status) != 0) throw_errno("look at it");
    return status;
}

Checksum hash_bare(int fd, bool with_label, const Cancellation& cancellation, ContentSize& size) {
    const auto status = status_of(fd);
    const FileMeta meta{status.st_uid, status.st_gid, status.st_mode, read_xattrs(fd, with_label)};
    if (S_ISLNK(status.st_mode)) return hash_link(meta, read_target(fd));
    if (!S_ISREG(status.st_mode)) return {};
    size = {static_cast<std::uint64_t>(status.st_size), stored_bytes(status)};
    return hash_content(meta, size, cancellation, [&](std::span<std::byte> buffer) { return read_some(fd, buffer); });
}

bool has_label(int fd) {
    return ::getxattr(path_of_descriptor(fd).c_str(), label_name, nullptr, 0) >= 0;
}

Checksum hash_bare_user(int fd, const Cancellation& cancellation, ContentSize& size) {
    const auto status = status_of(fd);
    if (!S_ISREG(status.st_mode)) return {};
    std::vector<char> bytes(XATTR_SIZE_MAX);
    const auto length = ::fgetxattr(fd, "user.ostreemeta", bytes.data(), bytes.size());
    if (length < 0) throw_errno("read user.ostreemeta");
    const auto meta = parse_dirmeta({bytes.data(), static_cast<std::size_t>(length)});
    if (S_ISLNK(meta.mode)) return hash_link(meta, read_all(fd, PATH_MAX, "the target of the symbolic link"));
    size = {static_cast<std::uint64_t>(status.st_size), stored_bytes(status)};
    return hash_content(meta, size, cancellation, [&](std::span<std::byte> buffer) { return read_some(fd, buffer); });
}

// A compressed object, as archive repositories have them.
Checksum hash_archive(int fd, const Cancellation& cancellation, ContentSize& size) {
    const auto status = status_of(fd);
    if (!S_ISREG(status.st_mode)) return {};
    const auto stream = adopt(g_unix_input_stream_new(fd, FALSE));
    ErrorSlot error;
    GInputStream* raw_content = nullptr;
    GFileInfo* raw_info = nullptr;
    GVariant* raw_xattrs = nullptr;
    error.check(ostree_content_stream_parse(TRUE, stream.get(), static_cast<guint64>(status.st_size), FALSE,
                                            &raw_content, &raw_info, &raw_xattrs, nullptr, error.out()),
                "read it");
    const auto content = adopt(raw_content);
    const auto info = adopt(raw_info);
    const auto meta = file_meta(info.get(), VariantPtr(raw_xattrs));
    if (S_ISLNK(meta.mode)) return hash_link(meta, symlink_target(info.get()));
    if (!S_ISREG(meta.mode) || !content) return {};
    size = {static_cast<std::uint64_t>(g_file_info_get_size(info.get())), stored_bytes(status)};
    return hash_content(meta, size, cancellation, [&](std::span<std::byte> buffer) {
        const auto count = g_input_stream_read(content.get(), buffer.data(), buffer.size(), nullptr, error.out());
        if (count < 0) error.raise("read its content");
        return static_cast<std::size_t>(count);
    });
}

// Symbolic links are opened as such; for reading everything else.
FileDescriptor open_object(const LooseObject& object) {
    FileDescriptor fd(::openat(object.directory, object.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd && errno == ELOOP) fd.reset(::openat(object.directory, object.name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) throw_errno("open it");
    return fd;
}

// An object that cannot be read has a fault, as ERROR says, which is being handled: all else is thrown on.
std::string as_fault(const Error& error) {
    if (error.kind() == ErrorKind::cancelled || is_shortage(error)) throw;
    return std::string("cannot be read: ") + error.what();
}

}  // namespace

ObjectCheck::ObjectCheck(const Repository& repository, const Cancellation& cancellation)
    : cancellation_(cancellation),
      format_(repository.mode() == "bare"        ? Format::bare
              : repository.mode() == "bare-user" ? Format::bare_user
                                                 : Format::archive) {}

std::optional<std::string> ObjectCheck::fault_of(const LooseObject& object) const {
    try {
        ContentSize size;
        return fault_of(open_object(object).get(), object.checksum, size);
    } catch (const Error& error) {
        return as_fault(error);
    }
}

std::optional<std::string> ObjectCheck::fault_of(int file, const Checksum& checksum, ContentSize& size) const {
    try {
        if (matches(file, checksum, size)) return std::nullopt;
        return "is corrupt";
    } catch (const Error& error) {
        return as_fault(error);
    }
}

bool ObjectCheck::matches(int file, const Checksum& checksum, ContentSize& size) const {
    if (format_ == Format::bare_user) return hash_bare_user(file, cancellation_, size) == checksum;
    if (format_ == Format::archive) return hash_archive(file, cancellation_, size) == checksum;
    if (hash_bare(file, true, cancellation_, size) == checksum) return true;
    // A system with SELinux labels every file, also one whose object has no label.
    if (!has_label(file)) return false;
    ::lseek(file, 0, SEEK_SET);  // fails for a symbolic link, which has no offset
    return hash_bare(file, false, cancellation_, size) == checksum;
}

}  // namespace imaged
