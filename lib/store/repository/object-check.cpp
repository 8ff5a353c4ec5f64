// SPDX-License-Identifier: Apache-2.0
#include "store/repository/object-check.hpp"

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
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/glib.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

constexpr std::size_t buffer_bytes = 256 * 1024;
constexpr const char* label_name = "security.selinux";

std::string proc_path(int fd) {
    return "/proc/self/fd/" + std::to_string(fd);
}

// What the kernel knows of FD, which may be a symbolic link opened with O_PATH.
Xattrs read_xattrs(int fd, bool with_label) {
    const auto path = proc_path(fd);
    std::vector<char> names(XATTR_LIST_MAX);
    const auto size = ::listxattr(path.c_str(), names.data(), names.size());
    if (size < 0) {
        if (errno == ENOTSUP) return nullptr;
        throw_errno("list its extended attributes");
    }
    std::vector<std::pair<std::string, std::string>> list;
    std::vector<char> value(XATTR_SIZE_MAX);
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

// Completes HASH with what is in FD.
Checksum finish_with_content(Sha256& hash, int fd) {
    thread_local std::vector<std::byte> buffer(buffer_bytes);
    for (;;) {
        const auto count = ::read(fd, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            const auto error = system_error(errno, "read its content");
            hash.finish();  // it is used again
            throw error;
        }
        if (count == 0) return hash.finish();
        hash.update(std::span(buffer).first(static_cast<std::size_t>(count)));
    }
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

Checksum hash_bare(int fd, bool with_label) {
    thread_local Sha256 hash;
    const auto status = status_of(fd);
    const FileMeta meta{status.st_uid, status.st_gid, status.st_mode, read_xattrs(fd, with_label)};
    if (S_ISLNK(status.st_mode)) {
        hash.update(file_header(meta, read_target(fd)));
        return hash.finish();
    }
    if (!S_ISREG(status.st_mode)) return {};
    hash.update(file_header(meta, {}));
    return finish_with_content(hash, fd);
}

Checksum hash_bare_user(int fd) {
    thread_local Sha256 hash;
    if (!S_ISREG(status_of(fd).st_mode)) return {};
    std::vector<char> bytes(XATTR_SIZE_MAX);
    const auto size = ::fgetxattr(fd, "user.ostreemeta", bytes.data(), bytes.size());
    if (size < 0) throw_errno("read user.ostreemeta");
    const auto meta = parse_dirmeta({bytes.data(), static_cast<std::size_t>(size)});
    if (S_ISLNK(meta.mode)) {
        const auto target = read_all(fd, PATH_MAX, "the target of the symbolic link");
        hash.update(file_header(meta, target));
        return hash.finish();
    }
    hash.update(file_header(meta, {}));
    return finish_with_content(hash, fd);
}

// A compressed object, as archive repositories have them.
Checksum hash_archive(int fd) {
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
    const VariantPtr xattrs(raw_xattrs);
    guchar* raw_checksum = nullptr;
    error.check(ostree_checksum_file_from_input(info.get(), xattrs.get(), content.get(), OSTREE_OBJECT_TYPE_FILE,
                                                &raw_checksum, nullptr, error.out()),
                "read it");
    const std::unique_ptr<guchar, Free<g_free>> bytes(raw_checksum);
    Checksum checksum;
    std::copy_n(raw_checksum, checksum.bytes.size(), checksum.bytes.begin());
    return checksum;
}

// Symbolic links are opened as such; for reading everything else.
FileDescriptor open_object(const LooseObject& object) {
    FileDescriptor fd(::openat(object.directory, object.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd && errno == ELOOP) fd.reset(::openat(object.directory, object.name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) throw_errno("open it");
    return fd;
}

}  // namespace

ObjectCheck::ObjectCheck(const Repository& repository)
    : repository_(repository),
      format_(repository.mode() == "bare"        ? Format::bare
              : repository.mode() == "bare-user" ? Format::bare_user
                                                 : Format::others) {}

std::optional<std::string> ObjectCheck::fault_of(const LooseObject& object) const {
    try {
        if (format_ == Format::others) return repository_.fsck_file(object.checksum);
        return fault_of(open_object(object).get(), object.checksum);
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        return std::string("cannot be read: ") + error.what();
    }
}

std::optional<std::string> ObjectCheck::fault_of(int file, const Checksum& checksum) const {
    try {
        if (matches(file, checksum)) return std::nullopt;
        return "is corrupt";
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        return std::string("cannot be read: ") + error.what();
    }
}

bool ObjectCheck::matches(int file, const Checksum& checksum) const {
    if (format_ == Format::bare_user) return hash_bare_user(file) == checksum;
    if (format_ == Format::others) return hash_archive(file) == checksum;
    if (hash_bare(file, true) == checksum) return true;
    // A system with SELinux labels every file, also one whose object has no label.
    ::lseek(file, 0, SEEK_SET);  // fails for a symbolic link, which has no offset
    return hash_bare(file, false) == checksum;
}

}  // namespace imaged
