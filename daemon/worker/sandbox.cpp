// SPDX-License-Identifier: Apache-2.0
#include "sandbox.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/scratch-directory.hpp"
#include "oci/export-destination.hpp"
#include "system-call-filter.hpp"

namespace imaged {

namespace {

// Owners, modes and file capabilities of objects. MAC_ADMIN is for labels that this host's SELinux does not know,
// SYS_ADMIN for labels where there is no SELinux (the kernel wants it for security.*): what else it is good for, the
// system call filter takes away.
constexpr std::array writing_capabilities{CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
                                          CAP_FSETID, CAP_SETFCAP,      CAP_MAC_ADMIN,       CAP_SYS_ADMIN};
constexpr std::array reading_capabilities{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};

void set_read_only(int directory, const char* path, unsigned flags, bool read_only) {
    struct mount_attr attributes {};
    (read_only ? attributes.attr_set : attributes.attr_clr) = MOUNT_ATTR_RDONLY;
    if (::mount_setattr(directory, path, flags, &attributes, sizeof attributes) != 0)
        throw_errno(std::string("make ") + (*path != '\0' ? path : "a mount") +
                    (read_only ? " read-only" : " writable") + " for the job");
}

// Makes the directories that lead to PATH, in a writable view of what is there, which nobody else sees.
void make_parents(const std::filesystem::path& path) {
    auto there = path.parent_path();
    std::vector<std::string> missing;
    while (!std::filesystem::exists(there)) {
        missing.insert(missing.begin(), there.filename().string());
        there = there.parent_path();
    }
    if (missing.empty()) return;
    FileDescriptor directory(static_cast<int>(
        ::syscall(SYS_open_tree, AT_FDCWD, there.c_str(), OPEN_TREE_CLONE | static_cast<unsigned>(OPEN_TREE_CLOEXEC))));
    if (!directory) throw_errno("open_tree " + there.string());
    set_read_only(directory.get(), "", AT_EMPTY_PATH, false);
    for (const auto& name : missing) {
        if (::mkdirat(directory.get(), name.c_str(), 0755) != 0) throw_errno("make the directory " + name);
        directory = open_at(directory.get(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    }
}

// The directory that an export fills, or that its archive will lie in.
std::filesystem::path exported_directory(const job::Request& request) {
    if (request.kind != job::Kind::export_) return {};
    const auto destination = ImageReference::parse(request.text("destination"));
    if (destination.transport() == Transport::registry) return {};
    const std::filesystem::path path = split_tag(destination.name()).first;
    return destination.transport() == Transport::oci_archive ? path.parent_path() : path;
}

// Whether REQUEST's job makes a repository where none is.
bool makes_repository(const job::Request& request) {
    switch (request.kind) {
        case job::Kind::import:
        case job::Kind::import_archive:
        case job::Kind::pull:
        case job::Kind::copy: return true;
        default: return false;
    }
}

// Where REQUEST's job writes, or takes the lock of what it reads. What is not there yet is made inside the directory
// that is.
std::vector<std::string> written_directories(const job::Request& request) {
    std::vector<std::string> paths;
    if (request.kind == job::Kind::prepare) return paths;
    const auto add = [&](const std::filesystem::path& path, bool make) {
        const bool there = std::filesystem::exists(path);
        if (path.empty() || (!there && !make)) return;
        make_parents(path);
        paths.push_back(std::filesystem::canonical(there ? path : path.parent_path()).string());
    };
    add(request.repository, makes_repository(request));
    add(request.text("repository"), makes_repository(request));
    add(exported_directory(request), true);
    return paths;
}

void confine_mounts(const job::Request& request) {
    if (::unshare(CLONE_NEWNS) != 0) throw_errno("make a mount namespace for the job");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) throw_errno("make mounts private");
    auto writable = written_directories(request);
    // skopeo unpacks archives there; the unit makes the first two private.
    for (const auto& scratch :
         {std::filesystem::path("/tmp"), std::filesystem::path("/var/tmp"), ScratchDirectory::parent()}) {
        if (std::filesystem::is_directory(scratch)) writable.push_back(std::filesystem::canonical(scratch).string());
    }
    for (const auto& path : writable) {
        if (::mount(path.c_str(), path.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
            throw_errno("bind " + path + " for the job");
    }
    set_read_only(AT_FDCWD, "/", AT_RECURSIVE, true);
    for (const auto& path : writable) set_read_only(AT_FDCWD, path.c_str(), 0, false);
}

template <std::size_t Count>
void keep_capabilities(const std::array<int, Count>& kept) {
    struct __user_cap_header_struct header {
        _LINUX_CAPABILITY_VERSION_3, 0
    };
    std::array<struct __user_cap_data_struct, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) throw_errno("capget");
    std::uint64_t wanted = 0;
    for (const int capability : kept) wanted |= 1ULL << capability;
    const std::array masks{static_cast<std::uint32_t>(wanted), static_cast<std::uint32_t>(wanted >> 32)};
    for (std::size_t word = 0; word < data.size(); ++word) {
        data[word].permitted &= masks[word];
        data[word].effective = data[word].permitted;
        data[word].inheritable = 0;
    }
    if (::syscall(SYS_capset, &header, data.data()) != 0) throw_errno("capset");
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) throw_errno("clear ambient capabilities");
}

}  // namespace

void confine(const job::Request& request) {
    if (!request.settings.confined) return;
    // With it, no program that is run from here, skopeo among them, gains what was given up.
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno("set no-new-privileges");
    if (::geteuid() == 0) {
        confine_mounts(request);
        if (request.kind == job::Kind::prepare) {
            keep_capabilities(reading_capabilities);
        } else {
            keep_capabilities(writing_capabilities);
        }
    }
    filter_system_calls(request.settings.skopeo_service.empty() ? Network::any : Network::none);
}

}  // namespace imaged
