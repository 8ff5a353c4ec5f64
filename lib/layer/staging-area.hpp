// SPDX-License-Identifier: Apache-2.0
// Scratch directories inside the repository, on its file system so that objects move into place by rename(2).
//
// On disk: tmp/imaged-XXXXXX, one for a job, in which each sink has a directory of its own, in which objects are as
// CHECKSUM.TYPE in a few directories. The job holds an flock(2) on the first; one that nobody holds is left over from a
// job that was killed, and the next job removes it. Nothing in here is ever reachable from a ref, so a crash needs no
// repair.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/file-descriptor.hpp"
#include "layer/object-placement.hpp"

namespace imaged {

// A directory for what is published together.
class Scratch {
public:
    // Removes it with all that is left.
    virtual ~Scratch() = default;
    Scratch& operator=(Scratch&&) = delete;

    int fd() const { return fd_.get(); }
    // A new empty directory in it; its number is set in NUMBER. Thread-safe.
    FileDescriptor make_directory(unsigned& number);
    // Moves these, in this order, to OBJECTS, as place_object() does. Nothing is written to this directory, nor to what
    // was in it, after this was called, and no descriptor for writing is open any more. Throws Error(failed).
    virtual void place(int objects, std::span<const Placement> placements) = 0;

protected:
    explicit Scratch(FileDescriptor fd) : fd_(std::move(fd)) {}

private:
    FileDescriptor fd_;
    std::atomic<unsigned> next_ = 0;
};

// Gives a job its scratch directories. Each of them must be destroyed before it.
class StagingArea {
public:
    virtual ~StagingArea() = default;
    StagingArea& operator=(StagingArea&&) = delete;

    // Thread-safe. Throws Error(no_space) or Error(failed).
    virtual std::shared_ptr<Scratch> make_scratch() = 0;

    // Calls VISIT with the path, below the repository, of each scratch directory whose job is gone. It stays locked
    // meanwhile: a job that has just made it finds that out and makes another.
    static void for_each_leftover(int repository, const std::function<void(const std::string& path)>& visit);
    // Removes them, but for what the system does not let go. CHECK as for remove_tree().
    static void clear_leftovers(int repository, const std::function<void()>& check = {});

protected:
    StagingArea() = default;
};

// This process's own.
class LocalStaging : public StagingArea {
public:
    // REPOSITORY is the repository's directory, borrowed. Throws Error(no_space) or Error(failed).
    explicit LocalStaging(int repository);
    // Removes everything that is left.
    ~LocalStaging() override;

    std::shared_ptr<Scratch> make_scratch() override;
    // The directory, and how it is called below the repository.
    int fd() const { return directory_.get(); }
    std::string path() const { return "tmp/" + name_; }

private:
    FileDescriptor tmp_;
    std::string name_;
    FileDescriptor directory_;
    std::atomic<unsigned> next_ = 0;
};

}  // namespace imaged
