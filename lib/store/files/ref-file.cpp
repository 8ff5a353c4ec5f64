// SPDX-License-Identifier: Apache-2.0
#include "store/files/ref-file.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/system-failure.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t checksum_digits = 64;
// Deeper than any ref: a path has at most PATH_MAX bytes.
constexpr std::size_t max_ref_depth = PATH_MAX / 2;

FileDescriptor open_directory(int directory, const char* path) {
    return FileDescriptor(::openat(directory, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Of a link that leads nowhere, and of a socket; any other errno of open(2) says nothing of what is there.
bool is_odd(int number) {
    return number == ENOENT || number == ENOTDIR || number == ELOOP || number == ENAMETOOLONG || number == ENXIO;
}

// PATH, a directory that is absolute or relative to refs/heads, as a name below refs/heads. By inodes: a repository can
// have several paths.
std::optional<fs::path> name_in_heads(int repository, const fs::path& path) {
    const auto heads = open_directory(repository, "refs/heads");
    auto directory = open_directory(heads.get(), path.empty() ? "." : path.c_str());
    if ((!heads || !directory) && !is_odd(errno)) throw_errno("follow an alias to " + path.string());
    struct stat top, status;
    if (!heads || !directory || ::fstat(heads.get(), &top) != 0) return std::nullopt;
    const auto place = fs::read_symlink(path_of_descriptor(directory.get()));
    fs::path name;
    auto component = place.end();
    for (std::size_t depth = 0; depth < max_ref_depth && ::fstat(directory.get(), &status) == 0; ++depth) {
        if (status.st_dev == top.st_dev && status.st_ino == top.st_ino) return name;
        if (component == place.begin() || *--component == "/") return std::nullopt;
        name = name.empty() ? *component : *component / name;
        directory = open_directory(directory.get(), "..");
        if (!directory) return std::nullopt;
    }
    return std::nullopt;
}

}  // namespace

std::map<std::string, Checksum> whole(const Refs& refs) {
    std::map<std::string, Checksum> found;
    for (const auto& [ref, commit] : refs) {
        if (commit) found.emplace_hint(found.end(), ref, *commit);
    }
    return found;
}

RefTarget read_ref_file(int directory, const std::string& path) {
    struct stat status;
    if (::fstatat(directory, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return {};
        throw_errno("look at the ref " + path);
    }
    if (S_ISDIR(status.st_mode)) return {};
    constexpr RefTarget broken{true, std::nullopt};
    const FileDescriptor file(::openat(directory, path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file) {
        if (errno == ENOENT && !S_ISLNK(status.st_mode)) return {};  // gone meanwhile
        if (is_odd(errno)) return broken;
        throw_errno("open the ref " + path);
    }
    if (::fstat(file.get(), &status) != 0) throw_errno("look at the ref " + path);
    if (!S_ISREG(status.st_mode)) return broken;
    std::array<char, checksum_digits> text;
    const auto size = ::read(file.get(), text.data(), text.size());
    if (size < 0) throw_errno("read the ref " + path);
    return {true, Checksum::from_hex({text.data(), static_cast<std::size_t>(size)})};
}

void require_no_ref_directory(int repository, const std::string& ref) {
    struct stat status;
    const auto path = "refs/heads/" + ref;
    if (::fstatat(repository, path.c_str(), &status, 0) != 0 || !S_ISDIR(status.st_mode)) return;
    if (::unlinkat(repository, path.c_str(), AT_REMOVEDIR) == 0) return;
    throw Error(
        ErrorKind::repository_damaged,
        "the ref " + ref + " is a directory: another program made refs below it (" + path + "); remove them first");
}

void read_or_note(UnreadableRefs* unreadable, const std::string& name, const std::function<void()>& read) {
    try {
        read();
    } catch (const Error& error) {
        if (unreadable == nullptr || !is_system_failure(error) || is_shortage(error)) throw;
        unreadable->emplace(name, error);
    }
}

RefEntryKind kind_of(int repository, const std::string& path, const DirectoryEntry& entry) {
    if (!entry.is_link) return entry.is_directory ? RefEntryKind::directory : RefEntryKind::ref;
    struct stat target, above;
    if (::fstatat(entry.directory, entry.name, &target, 0) != 0 || !S_ISDIR(target.st_mode)) return RefEntryKind::ref;
    const auto leads_to = [&](const std::string& place) {
        return ::fstatat(repository, place.c_str(), &above, 0) == 0 && above.st_dev == target.st_dev &&
               above.st_ino == target.st_ino;
    };
    for (auto end = path.find('/'); end != path.npos; end = path.find('/', end + 1)) {
        if (leads_to(path.substr(0, end))) return RefEntryKind::loop;
    }
    return leads_to(path) || leads_to(".") ? RefEntryKind::loop : RefEntryKind::directory;
}

void visit_ref_files(int directory, const std::string& path, const std::string& prefix, UnreadableRefs* unreadable,
                     const std::function<void(const RefEntry&)>& visit) {
    const auto top = prefix.substr(0, prefix.size() - (prefix.empty() ? 0 : 1));
    const std::function<void(const std::string&, const std::string&)> below = [&](const std::string& inner,
                                                                                  const std::string& name) {
        FileDescriptor opened(::openat(directory, inner.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!opened && errno != ENOENT && errno != ENOTDIR) throw_errno("list " + inner);
        visit_directory(std::move(opened), inner, [&](const DirectoryEntry& entry) {
            const auto found = name + entry.name;
            const auto kind = kind_of(directory, inner, entry);
            if (kind == RefEntryKind::ref) visit({found, entry.is_link});
            if (kind == RefEntryKind::directory)
                read_or_note(unreadable, found, [&] { below(inner + "/" + entry.name, found + "/"); });
        });
    };
    read_or_note(unreadable, top, [&] {
        struct stat status;
        if (::fstatat(directory, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT || errno == ENOTDIR) return;
            throw_errno("list " + path);
        }
        const bool is_link = S_ISLNK(status.st_mode);
        if (is_link && ::fstatat(directory, path.c_str(), &status, 0) != 0) throw_errno("list " + path);
        if (!S_ISDIR(status.st_mode)) return visit({top, is_link});
        below(path, prefix);
    });
}

void visit_refs(int directory, const std::string& path, const std::string& prefix, UnreadableRefs* unreadable,
                const std::function<void(const std::string& name, const std::optional<Checksum>& commit)>& visit) {
    visit_ref_files(directory, path, prefix, unreadable, [&](const RefEntry& entry) {
        const auto rest = entry.name.size() < prefix.size() ? std::string() : "/" + entry.name.substr(prefix.size());
        read_or_note(unreadable, entry.name, [&] {
            const auto target = read_ref_file(directory, path + rest);
            if (target.exists) visit(entry.name, target.commit);
        });
    });
}

std::optional<std::string> alias_target(int repository, const std::string& name) {
    std::array<char, PATH_MAX> text;
    const auto size = ::readlinkat(repository, ("refs/heads/" + name).c_str(), text.data(), text.size());
    if (size < 0 && errno != EINVAL && errno != ENOENT) throw_errno("read the alias refs/heads/" + name);
    if (size <= 0) return std::nullopt;
    const fs::path link(std::string(text.data(), static_cast<std::size_t>(size)));
    const auto directory = name_in_heads(repository, (fs::path(name).parent_path() / link).parent_path());
    if (!directory) return std::nullopt;
    return (*directory / link.filename()).string();
}

}  // namespace imaged
