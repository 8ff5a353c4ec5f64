// SPDX-License-Identifier: Apache-2.0
#include "store/object-check.hpp"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

constexpr std::size_t buffer_bytes = 256 * 1024;
constexpr const char* label_name = "security.selinux";

// What the kernel knows of the file at PATH, which may be a symbolic link.
Xattrs read_xattrs(const std::string& path, bool with_label) {
    std::vector<char> names(XATTR_LIST_MAX);
    const auto size = ::llistxattr(path.c_str(), names.data(), names.size());
    if (size < 0) {
        if (errno == ENOTSUP) return nullptr;
        throw_errno("list its extended attributes");
    }
    std::vector<std::pair<std::string, std::string>> list;
    std::vector<char> value(XATTR_SIZE_MAX);
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(list.back().first.size()) + 1) {
        const char* name = names.data() + at;
        const auto length = ::lgetxattr(path.c_str(), name, value.data(), value.size());
        if (length < 0) throw_errno(std::string("read its extended attribute ") + name);
        list.emplace_back(name, std::string(value.data(), static_cast<std::size_t>(length)));
    }
    // libostree reads no attribute without a value, so neither does what is to agree with it.
    std::erase_if(
        list, [&](const auto& entry) { return entry.second.empty() || (!with_label && entry.first == label_name); });
    std::sort(list.begin(), list.end());
    return make_xattrs(list);
}

std::string proc_path(int fd) {
    return "/proc/self/fd/" + std::to_string(fd);
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

std::string read_target(const LooseObject& object) {
    std::array<char, PATH_MAX> target;
    const auto size = ::readlinkat(object.directory, object.name, target.data(), target.size());
    if (size < 0) throw_errno("read the symbolic link");
    return std::string(target.data(), static_cast<std::size_t>(size));
}

}  // namespace

ObjectCheck::ObjectCheck(const Repository& repository)
    : repository_(repository),
      format_(repository.mode() == "bare"        ? Format::bare
              : repository.mode() == "bare-user" ? Format::bare_user
                                                 : Format::others) {}

std::optional<std::string> ObjectCheck::fault_of(const LooseObject& object) const {
    try {
        switch (format_) {
            case Format::others: return repository_.fsck_file(object.checksum);
            case Format::bare_user:
                if (hash_bare_user(object) != object.checksum) return "is corrupt";
                return std::nullopt;
            case Format::bare:
                // A system with SELinux labels every file, also one whose object has no label.
                if (hash_bare(object, true) != object.checksum && hash_bare(object, false) != object.checksum)
                    return "is corrupt";
                return std::nullopt;
        }
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        return std::string("cannot be read: ") + error.what();
    }
    return std::nullopt;
}

Checksum ObjectCheck::hash_bare(const LooseObject& object, bool with_label) const {
    thread_local Sha256 hash;
    const auto describe = [&](const struct stat& status, const std::string& path, std::string_view target) {
        hash.update(file_header({status.st_uid, status.st_gid, status.st_mode, read_xattrs(path, with_label)}, target));
    };
    struct stat status;
    const auto file = ::openat(object.directory, object.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const FileDescriptor fd(file);
    if (!fd) {
        if (errno != ELOOP) throw_errno("open it");
        if (::fstatat(object.directory, object.name, &status, AT_SYMLINK_NOFOLLOW) != 0) throw_errno("look at it");
        describe(status, proc_path(object.directory) + "/" + object.name, read_target(object));
        return hash.finish();
    }
    if (::fstat(fd.get(), &status) != 0) throw_errno("look at it");
    if (!S_ISREG(status.st_mode)) return {};
    const auto path = proc_path(object.directory) + "/" + object.name;
    describe(status, path, {});
    return finish_with_content(hash, fd.get());
}

Checksum ObjectCheck::hash_bare_user(const LooseObject& object) const {
    thread_local Sha256 hash;
    const FileDescriptor fd(::openat(object.directory, object.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) throw_errno("open it");
    std::vector<char> bytes(XATTR_SIZE_MAX);
    const auto size = ::fgetxattr(fd.get(), "user.ostreemeta", bytes.data(), bytes.size());
    if (size < 0) throw_errno("read user.ostreemeta");
    const auto meta = parse_dirmeta({bytes.data(), static_cast<std::size_t>(size)});
    if (S_ISLNK(meta.mode)) {
        const auto target = read_all(fd.get(), PATH_MAX, "the target of the symbolic link");
        hash.update(file_header(meta, target));
        return hash.finish();
    }
    hash.update(file_header(meta, {}));
    return finish_with_content(hash, fd.get());
}

}  // namespace imaged
