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

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/scratch-directory.hpp"
#include "hidden-directories.hpp"
#include "oci/export-destination.hpp"
#include "oci/image-reference.hpp"
#include "publisher.hpp"
#include "store/files/repository-creation.hpp"
#include "supervisor.hpp"
#include "system-call-filter.hpp"

namespace imaged {

namespace {

// Owners, modes and file capabilities of objects. MAC_ADMIN is for labels that this host's SELinux does not know,
// SYS_ADMIN for labels if there is no SELinux (the kernel wants it for security.*): what else it is good for, the
// system call filter takes away.
constexpr std::array writing_capabilities{CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
                                          CAP_FSETID, CAP_SETFCAP,      CAP_MAC_ADMIN,       CAP_SYS_ADMIN};
constexpr std::array reading_capabilities{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};
constexpr std::array removing_capabilities{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER};
// Credentials of the host, and what says that it was booted from an OSTree repository.
constexpr std::array<const char*, 3> kept_in_run{"/run/ostree", "/run/ostree-booted", "/run/containers"};
// Where /etc/resolv.conf may lead, for a skopeo that talks to registries itself.
constexpr std::array<const char*, 3> names_in_run{"/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"};
// For an image that a container engine of this machine is asked for.
constexpr std::array<const char*, 1> container_sockets{"/run/docker.sock"};
constexpr std::array<const char*, 5> kept_devices{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};

void set_mount(int directory, const char* path, unsigned flags, std::uint64_t set, std::uint64_t clear) {
    struct mount_attr attributes {};
    attributes.attr_set = set;
    attributes.attr_clr = clear;
    if (::mount_setattr(directory, path, flags, &attributes, sizeof attributes) != 0)
        throw_errno(std::string("make ") + (*path != '\0' ? path : "a mount") +
                    ((set & MOUNT_ATTR_RDONLY) != 0 ? " read-only" : " writable") + " for the job");
}

void make_writable(int directory, const char* path, unsigned flags) {
    set_mount(directory, path, flags, 0, MOUNT_ATTR_RDONLY);
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
    make_writable(directory.get(), "", AT_EMPTY_PATH);
    for (const auto& name : missing) {
        if (::mkdirat(directory.get(), name.c_str(), 0755) != 0) throw_errno("make the directory " + name);
        directory = open_at(directory.get(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    }
}

// The directory that an export fills, or that its archive will lie in.
std::filesystem::path exported_directory(const job::Request& request) {
    const auto* const exported = request.as<job::Export>();
    if (exported == nullptr) return {};
    const auto& destination = exported->destination;
    if (destination.transport() == Transport::registry) return {};
    const std::filesystem::path path = split_tag(destination.name()).first;
    return destination.transport() == Transport::oci_archive ? path.parent_path() : path;
}

// The other repository of a copy.
std::string other_repository(const job::Request& request) {
    const auto* const copy = request.as<job::Copy>();
    return copy != nullptr ? copy->repository : std::string();
}

// Whether REQUEST's job writes nothing at all, and takes no lock.
bool only_reads(const job::Request& request) {
    return request.traits().only_reads && request.traits().publishing == job::Publishing::none;
}

// Where REQUEST's job writes, or takes the lock of what it reads. What is not there yet is made inside the directory
// that is.
std::vector<std::string> written_directories(const job::Request& request) {
    std::vector<std::string> paths;
    if (only_reads(request)) return paths;
    const auto add = [&](const std::filesystem::path& path, bool make) {
        const bool there = std::filesystem::exists(path);
        if (path.empty() || (!there && !make)) return;
        make_parents(path);
        paths.push_back(std::filesystem::canonical(there ? path : path.parent_path()).string());
    };
    const bool copies = request.as<job::Copy>() != nullptr;
    if (!has_publisher(request)) add(request.repository, copies);
    add(other_repository(request), copies);
    add(exported_directory(request), true);
    return paths;
}

void mount_on_itself(const std::string& path) {
    if (::mount(path.c_str(), path.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
        throw_errno("bind " + path + " for the job");
}

// What REQUEST may read, by name.
std::vector<ImageReference> named_images(const job::Request& request) {
    std::vector<ImageReference> images;
    if (const auto* const several = request.images()) images = *several;
    if (const auto* const image = request.image()) images.push_back(*image);
    if (const auto* const verify = request.as<job::Verify>(); verify != nullptr && verify->source)
        images.push_back(*verify->source);
    return images;
}

// The local files and repositories that REQUEST names.
std::vector<std::string> named_paths(const job::Request& request) {
    std::vector<std::string> paths;
    for (const auto& path : {request.repository, other_repository(request), exported_directory(request).string()}) {
        if (!path.empty()) paths.push_back(path);
    }
    for (const auto& image : named_images(request)) {
        switch (image.transport()) {
            case Transport::oci:
            case Transport::oci_archive:
            case Transport::docker_archive:
            case Transport::dir: break;
            default: continue;
        }
        paths.insert(paths.end(), {image.name(), split_tag(image.name()).first});
    }
    return paths;
}

// Where programs put temporary files: without links, each once, and none below another.
std::vector<std::string> temporary_directories() {
    std::vector<std::string> directories;
    for (const auto& path :
         {std::filesystem::path("/tmp"), std::filesystem::path("/var/tmp"), ScratchDirectory::parent()}) {
        if (!std::filesystem::is_directory(path)) continue;
        auto place = std::filesystem::canonical(path).string();
        const bool covered = std::any_of(directories.begin(), directories.end(), [&](const std::string& other) {
            return (place + "/").starts_with(other + "/");
        });
        if (!covered) directories.push_back(std::move(place));
    }
    return directories;
}

// What the environment names: the administrator's configuration, and this program.
std::vector<std::string> configured_paths() {
    std::vector<std::string> paths{std::filesystem::read_symlink("/proc/self/exe").parent_path()};
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const auto value = text.substr(text.find('=') + 1);
        if (value.starts_with('/') && !text.starts_with("TMPDIR=")) paths.emplace_back(value);
    }
    return paths;
}

// Whether the job uses DIRECTORY itself, and so has to see all that lies in it: only root can have asked for that.
bool is_used(const std::string& directory, const std::vector<std::string>& used) {
    return std::any_of(used.begin(), used.end(), [&](const std::string& path) {
        std::error_code failure;
        return std::filesystem::canonical(path, failure) == directory;
    });
}

// Devices, sockets and other processes are not to be seen. USED stays, wherever it is.
void hide_the_machine(const std::vector<std::string>& used, Network network) {
    auto kept = used;
    kept.insert(kept.end(), kept_in_run.begin(), kept_in_run.end());
    if (network != Network::none) kept.insert(kept.end(), names_in_run.begin(), names_in_run.end());
    if (network == Network::local) kept.insert(kept.end(), container_sockets.begin(), container_sockets.end());
    if (!is_used("/run", used)) hide_directory("/run", kept);
    kept = used;
    kept.insert(kept.end(), kept_devices.begin(), kept_devices.end());
    if (is_used("/dev", used))
        throw Error(ErrorKind::invalid_argument,
                    "a path in /dev cannot be used, because each job has a /dev of its own; use another path");
    hide_directory("/dev", kept);
    // That of the new PID namespace.
    if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
        throw_errno("mount /proc for the job");
}

// The configuration files of the repositories that are there. One that is mounted on itself can be neither written nor
// replaced.
std::vector<std::string> configurations_of(const job::Request& request) {
    std::vector<std::string> paths;
    for (const auto& repository : {request.repository, other_repository(request)}) {
        const auto path = std::filesystem::path(repository) / "config";
        if (!repository.empty() && std::filesystem::is_regular_file(path))
            paths.push_back(std::filesystem::canonical(path).string());
    }
    return paths;
}

void leave_mount_namespace() {
    if (::unshare(CLONE_NEWNS) != 0) throw_errno("make a mount namespace for the job");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) throw_errno("make mounts private");
}

// For the publisher: the repository is writable, wherever it lies (an OSTree host has its own read-only), and made
// if the job makes one.
void open_repository(const job::Request& request) {
    const std::filesystem::path path = request.repository;
    const bool there = std::filesystem::exists(path),
               make = request.traits().stores_image && !is_repository(request.repository);
    if (!there && !make) return;
    leave_mount_namespace();
    if (!there) make_parents(path);
    const auto place = std::filesystem::canonical(there ? path : path.parent_path()).string();
    mount_on_itself(place);
    make_writable(AT_FDCWD, place.c_str(), 0);
    if (make) make_repository(request.repository);
}

// Gives the job its own temporary directories. USED stays, wherever it is.
std::vector<std::string> hide_temporary_files(const std::vector<std::string>& used, const JobDirectory& own) {
    auto directories = temporary_directories();
    std::erase_if(directories, [&](const std::string& directory) { return is_used(directory, used); });
    auto kept = configured_paths();
    kept.insert(kept.end(), used.begin(), used.end());
    std::vector<FileDescriptor> mounts;
    for (std::size_t i = 0; i < directories.size(); ++i) mounts.push_back(own.make_mount(std::to_string(i)));
    for (std::size_t i = 0; i < directories.size(); ++i) hide_directory(directories[i], kept, mounts[i]);
    if (!own) return {};
    // One that lies in another.
    std::filesystem::create_directories(ScratchDirectory::parent());
    return directories;
}

void confine_mounts(const job::Request& request, Network network, const JobDirectory& own) {
    leave_mount_namespace();
    auto writable = written_directories(request);
    for (const auto& path : writable) mount_on_itself(path);
    auto used = named_paths(request);
    if (has_publisher(request) && std::filesystem::exists(request.repository)) {
        // On itself, so that it stays read-only wherever it lies.
        mount_on_itself(std::filesystem::canonical(request.repository).string());
    }
    used.insert(used.end(), writable.begin(), writable.end());
    const auto temporary = hide_temporary_files(used, own);
    writable.insert(writable.end(), temporary.begin(), temporary.end());
    used.insert(used.end(), temporary.begin(), temporary.end());
    hide_the_machine(used, network);
    const auto configurations = configurations_of(request);
    for (const auto& path : configurations) mount_on_itself(path);
    // A device that is to be found elsewhere is none.
    set_mount(AT_FDCWD, "/", AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, 0);
    for (const auto& path : writable) make_writable(AT_FDCWD, path.c_str(), 0);
    for (const auto* device : kept_devices) {
        if (std::filesystem::exists(device)) set_mount(AT_FDCWD, device, 0, 0, MOUNT_ATTR_NODEV);
    }
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

bool is_registry(const ImageReference& image) {
    return image.transport() == Transport::registry;
}

// Whether REQUEST's job may start a skopeo of its own: the service talks to registries only.
bool starts_skopeo(const job::Request& request) {
    if (only_reads(request) && !request.traits().reads_image) return false;
    if (!request.settings.skopeo_service) return true;
    // The image may come from a local source under whatever name it is stored.
    if (const auto* const exported = request.as<job::Export>(); exported != nullptr && exported->delta_from)
        return true;
    if (request.image() != nullptr && !is_registry(*request.image())) return true;
    const auto* const verify = request.as<job::Verify>();
    if (verify == nullptr || !verify->repair) return false;
    return verify->images.empty() || (verify->source && !is_registry(*verify->source)) ||
           !std::all_of(verify->images.begin(), verify->images.end(), is_registry);
}

SystemCalls calls_of(const job::Request& request) {
    if (!starts_skopeo(request)) return {Network::none, false};
    const bool asks_docker = request.image() != nullptr && request.image()->transport() == Transport::docker_daemon;
    if (asks_docker) return {Network::local, true};
    return {request.settings.skopeo_service ? Network::none : Network::internet, true};
}

}  // namespace

void keep_publishing_capabilities() {
    keep_capabilities(writing_capabilities);
}

void keep_removing_capabilities() {
    keep_capabilities(removing_capabilities);
}

void give_up_capabilities() {
    keep_capabilities(std::array<int, 0>());
}

void confine(job::Request& request) {
    if (!request.settings.confined) return;
    // With it, no program that is run from here, skopeo among them, gains what was given up.
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno("set no-new-privileges");
    const auto calls = calls_of(request);
    if (::geteuid() == 0) {
        if (has_publisher(request)) open_repository(request);
        JobDirectory directory;
        supervise(request, directory);
        confine_mounts(request, calls.network, directory);
        if (only_reads(request)) {
            keep_capabilities(reading_capabilities);
        } else {
            keep_capabilities(writing_capabilities);
        }
    }
    filter_system_calls(calls);
}

}  // namespace imaged
