// SPDX-License-Identifier: Apache-2.0
// The directories that replace /tmp and the like for a confined job. They lie in one scratch directory
// (base/scratch-directory.hpp). When the job ends, in any way, a process removes that directory with all that is in it;
// a signal to the worker's process group does not reach that process.
#pragma once

#include <optional>
#include <string>

#include "base/child-process.hpp"
#include "base/file-descriptor.hpp"
#include "base/scratch-directory.hpp"

namespace imaged {

class JobDirectory {
public:
    // If none can be made, the job has none, and reports that when it needs one.
    JobDirectory() noexcept;

    explicit operator bool() const { return directory_.has_value(); }
    // A mount, in no namespace yet, of the new directory NAME in it; empty if there is none. Throws Error(failed).
    FileDescriptor make_mount(const std::string& name) const;
    // Called in the supervisor. Starts the process that removes it when the child JOB has ended. Throws Error(failed).
    void remove_after(const ChildProcess& job);
    // Called when the job has ended.
    void wait_until_removed();
    // Called in the process that does the job.
    void leave_to_supervisor() {
        if (directory_) directory_->leave_to_parent();
    }

private:
    std::optional<ScratchDirectory> directory_;
    ChildProcess remover_;
};

}  // namespace imaged
