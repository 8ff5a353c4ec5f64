// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/deployment-listing.hpp"

#include <fcntl.h>
#include <ostree.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>
#include <tuple>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/glib.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

using KeyFilePtr = std::unique_ptr<GKeyFile, Free<g_key_file_unref>>;

// Some lines, as a rule.
constexpr std::size_t max_origin_bytes = 1024 * 1024;
constexpr const char* origin_group = "origin";
// Groups of libostree's own, for what it does not keep elsewhere.
constexpr const char* transient_group = "libostree-transient";

std::optional<std::string> text(GKeyFile* file, const char* key) {
    const CharPtr value(g_key_file_get_string(file, origin_group, key, nullptr));
    return value ? std::optional<std::string>(value.get()) : std::nullopt;
}

void read_origin(FoundDeployment& found, GKeyFile* origin) {
    found.image_reference = text(origin, "container-image-reference");
    found.refspec = text(origin, "refspec");
    if (!found.refspec) found.refspec = text(origin, "baserefspec");  // of rpm-ostree, with packages on top
    if (!found.image_reference && !found.refspec) found.error = "its origin file names neither an image nor a ref";
}

std::vector<FoundDeployment> from_libostree(const std::string& path) {
    const auto file = adopt(g_file_new_for_path(path.c_str()));
    const auto sysroot = adopt(ostree_sysroot_new(file.get()));
    ErrorSlot error;
    error.check(ostree_sysroot_load(sysroot.get(), nullptr, error.out()), "read the deployments of " + path);
    const std::unique_ptr<GPtrArray, Free<g_ptr_array_unref>> deployments(
        ostree_sysroot_get_deployments(sysroot.get()));
    auto* const booted = ostree_sysroot_get_booted_deployment(sysroot.get());
    GObjectPtr<OstreeDeployment> pending, rollback;
    if (booted != nullptr) {
        OstreeDeployment *next = nullptr, *last = nullptr;
        ostree_sysroot_query_deployments_for(sysroot.get(), nullptr, &next, &last);
        pending.reset(next);
        rollback.reset(last);
    }
    std::vector<FoundDeployment> list;
    for (guint i = 0; i < deployments->len; ++i) {
        auto* const deployment = static_cast<OstreeDeployment*>(deployments->pdata[i]);
        const auto is = [&](OstreeDeployment* other) {
            return other != nullptr && ostree_deployment_equal(deployment, other) != FALSE;
        };
        FoundDeployment found;
        found.stateroot = ostree_deployment_get_osname(deployment);
        found.checksum = ostree_deployment_get_csum(deployment);
        found.serial = static_cast<std::uint32_t>(ostree_deployment_get_deployserial(deployment));
        found.booted = is(booted);
        // A system that is not the running one starts with its first.
        found.pending = booted != nullptr ? is(pending.get()) : i == 0;
        found.rollback = is(rollback.get());
        found.staged = ostree_deployment_is_staged(deployment) != FALSE;
        found.pinned = ostree_deployment_is_pinned(deployment) != FALSE;
        if (auto* const origin = ostree_deployment_get_origin(deployment)) {
            read_origin(found, origin);
        } else {
            found.error = "it has no origin file";
        }
        list.push_back(std::move(found));
    }
    return list;
}

// CHECKSUM.SERIAL
std::optional<FoundDeployment> parse_name(const std::string& name) {
    const auto dot = name.find('.');
    if (dot == std::string::npos || !Checksum::from_hex(name.substr(0, dot))) return std::nullopt;
    FoundDeployment found;
    found.checksum = name.substr(0, dot);
    const auto* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + dot + 1, end, found.serial);
    return error == std::errc() && rest == end ? std::optional(std::move(found)) : std::nullopt;
}

void read_origin_file(FoundDeployment& found, const std::string& path) {
    try {
        const auto file = try_open_file(AT_FDCWD, path);
        if (!file) {
            found.error = "it has no origin file";
            return;
        }
        const auto content = read_all(file.get(), max_origin_bytes, path);
        const KeyFilePtr origin(g_key_file_new());
        ErrorSlot error;
        error.check(
            g_key_file_load_from_data(origin.get(), content.data(), content.size(), G_KEY_FILE_NONE, error.out()),
            "its origin file cannot be read");
        read_origin(found, origin.get());
        found.pinned = g_key_file_get_boolean(origin.get(), transient_group, "pinned", nullptr) != FALSE;
    } catch (const Error& error) {
        found.error = error.what();
    }
}

bool is_root(const fs::path& directory) {
    struct stat here {
    }, root{};
    return ::stat(directory.c_str(), &here) == 0 && ::stat("/", &root) == 0 && here.st_dev == root.st_dev &&
           here.st_ino == root.st_ino;
}

// Without the order of the boot loader.
std::vector<FoundDeployment> from_directories(const fs::path& stateroots) {
    std::vector<FoundDeployment> list;
    for (const auto& stateroot : fs::directory_iterator(stateroots)) {
        std::error_code none;
        for (const auto& directory : fs::directory_iterator(stateroot.path() / "deploy", none)) {
            auto found = parse_name(directory.path().filename().string());
            if (!found || !directory.is_directory()) continue;
            found->stateroot = stateroot.path().filename().string();
            found->booted = is_root(directory);
            read_origin_file(*found, directory.path().string() + ".origin");
            list.push_back(std::move(*found));
        }
    }
    std::sort(list.begin(), list.end(), [](const auto& one, const auto& other) {
        return std::tie(one.stateroot, one.checksum, one.serial) <
               std::tie(other.stateroot, other.checksum, other.serial);
    });
    return list;
}

// Whether an origin file is a pipe: libostree would wait for who writes to it.
bool has_pipes(const fs::path& stateroots) {
    std::error_code none;
    for (const auto& stateroot : fs::directory_iterator(stateroots, none)) {
        for (const auto& entry : fs::directory_iterator(stateroot.path() / "deploy", none)) {
            if (entry.path().extension() == ".origin" && fs::is_fifo(entry.status(none))) return true;
        }
    }
    return false;
}

}  // namespace

std::vector<FoundDeployment> find_deployments(const std::string& sysroot) {
    const fs::path stateroots = fs::path(sysroot) / "ostree/deploy";
    std::error_code failure;
    if (!fs::is_directory(stateroots, failure)) return {};
    if (has_pipes(stateroots)) return from_directories(stateroots);
    try {
        return from_libostree(sysroot);
    } catch (const Error&) {
        // One broken origin file keeps libostree from all of them.
        auto found = from_directories(stateroots);
        if (!found.empty() &&
            std::none_of(found.begin(), found.end(), [](const auto& one) { return !one.error.empty(); }))
            throw;
        return found;
    }
}

}  // namespace imaged
