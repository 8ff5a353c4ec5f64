// SPDX-License-Identifier: Apache-2.0
// A job's scratch space inside the repository: tmp/imaged-XXXXXX, on the repository's file system so that objects move
// into place by rename(2).
//
// On disk: each sink has a directory of its own below it, holding objects as CHECKSUM.TYPE. The job holds an flock(2)
// on the scratch directory; one that nobody holds is left over from a job that was killed, and the next job removes it.
// Nothing in here is ever reachable from a ref, so a crash needs no repair.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/file-descriptor.hpp"

namespace imaged {

class StagingArea {
public:
    // REPOSITORY is the repository's directory, borrowed. Throws Error(no_space) or Error(failed).
    explicit StagingArea(int repository);
    // Removes everything that is left.
    ~StagingArea();
    StagingArea(const StagingArea&) = delete;
    StagingArea& operator=(const StagingArea&) = delete;

    // A new empty directory below; its name is set in NAME. From any thread.
    FileDescriptor make_directory(std::string& name);
    void remove_directory(const std::string& name);

    // Calls VISIT with the path, below the repository, of each scratch directory whose job is gone. It stays locked
    // meanwhile: a job that has just made it finds that out and makes another.
    static void for_each_leftover(int repository, const std::function<void(const std::string& path)>& visit);
    // Removes them.
    static void clear_leftovers(int repository);

private:
    FileDescriptor tmp_;
    std::string name_;
    FileDescriptor directory_;
    std::atomic<unsigned> next_ = 0;
};

}  // namespace imaged
