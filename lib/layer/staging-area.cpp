// SPDX-License-Identifier: Apache-2.0
#include "layer/staging-area.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

constexpr const char* prefix = "imaged-";
// Before a new directory is locked, a process that clears leftovers may take it for one.
constexpr unsigned max_attempts = 100;

std::string random_name() {
    std::uint64_t value = 0;
    if (::getrandom(&value, sizeof value, 0) != sizeof value) throw_errno("getrandom");
    return prefix + std::to_string(value);
}

FileDescriptor make_directory_at(int parent, const std::string& name) {
    if (::mkdirat(parent, name.c_str(), 0700) != 0) throw_errno("make a scratch directory");
    return open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

class LocalScratch : public Scratch {
public:
    LocalScratch(int parent, std::string name)
        : Scratch(make_directory_at(parent, name)), parent_(parent), name_(std::move(name)) {}
    ~LocalScratch() override {
        try {
            remove_tree(parent_, name_);
        } catch (const Error&) {
            // The staging area is removed as a whole later on.
        }
    }

    void place(int objects, std::span<const Placement> placements) override {
        for (const auto& placement : placements) place_object(directory(placement.directory), objects, placement);
    }

private:
    int directory(std::uint8_t number) {
        auto& directory = directories_[number];
        if (!directory) directory = open_at(fd(), std::to_string(number), O_PATH | O_DIRECTORY | O_NOFOLLOW);
        return directory.get();
    }

    const int parent_;
    const std::string name_;
    std::array<FileDescriptor, 256> directories_;
};

}  // namespace

FileDescriptor Scratch::make_directory(unsigned& number) {
    number = next_++;
    return make_directory_at(fd(), std::to_string(number));
}

LocalStaging::LocalStaging(int repository) : tmp_(open_at(repository, "tmp", O_RDONLY | O_DIRECTORY)) {
    for (unsigned attempt = 0; attempt < max_attempts; ++attempt) {
        name_ = random_name();
        if (::mkdirat(tmp_.get(), name_.c_str(), 0700) != 0) throw_errno("make the scratch directory tmp/" + name_);
        auto directory = try_open_at(tmp_.get(), name_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (!directory) continue;
        if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) continue;
            const auto error = system_error(errno, "lock the scratch directory tmp/" + name_);
            ::unlinkat(tmp_.get(), name_.c_str(), AT_REMOVEDIR);
            throw error;
        }
        struct stat locked, named;
        if (::fstat(directory.get(), &locked) == 0 &&
            ::fstatat(tmp_.get(), name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 && locked.st_ino == named.st_ino) {
            directory_ = std::move(directory);
            return;
        }
    }
    throw Error(ErrorKind::failed, "other programs keep removing scratch directories from the repository's tmp");
}

LocalStaging::~LocalStaging() {
    try {
        remove_tree(tmp_.get(), name_);
    } catch (const Error&) {
        // The next job tries again.
    }
}

std::shared_ptr<Scratch> LocalStaging::make_scratch() {
    return std::make_shared<LocalScratch>(directory_.get(), std::to_string(next_++));
}

void StagingArea::for_each_leftover(int repository, const std::function<void(const std::string&)>& visit) {
    visit_directory(open_at(repository, "tmp", O_RDONLY | O_DIRECTORY), "tmp", [&](const DirectoryEntry& entry) {
        if (!std::string_view(entry.name).starts_with(prefix)) return;
        // What is no directory is not ours.
        const FileDescriptor directory(
            ::openat(entry.directory, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (directory && ::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) visit(std::string("tmp/") + entry.name);
    });
}

void StagingArea::clear_leftovers(int repository, const std::function<void()>& check) {
    for_each_leftover(repository, [&](const std::string& path) {
        try {
            remove_tree(repository, path, check);
        } catch (const Error& error) {
            // A mount point, or what is immutable: no reason for a job to fail.
            if (!is_system_failure(error)) throw;
        }
    });
}

}  // namespace imaged
