// SPDX-License-Identifier: Apache-2.0
// A filter of system calls (seccomp(2)), for this thread and what it starts. Programs that use it link libseccomp.
#pragma once

#include <seccomp.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace imaged {

class SeccompFilter {
public:
    // OTHERS is what happens to calls without a rule; errors begin with WHAT.
    SeccompFilter(std::string what, std::uint32_t others) : what_(std::move(what)), filter_(::seccomp_init(others)) {
        if (!filter_) throw Error(ErrorKind::failed, what_ + ": out of memory");
    }

    // Applies ACTION to the system call NAME if its arguments meet CONDITIONS. Does nothing if libseccomp does not know
    // NAME.
    template <typename... Conditions>
    void add(std::uint32_t action, const char* name, Conditions... conditions) {
        const int call = ::seccomp_syscall_resolve_name(name);
        if (call == __NR_SCMP_ERROR) return;
        check(::seccomp_rule_add(filter_.get(), action, call, sizeof...(conditions), conditions...));
    }
    void load() const { check(::seccomp_load(filter_.get())); }

private:
    struct Release {
        void operator()(void* filter) const { ::seccomp_release(filter); }
    };

    void check(int result) const {
        // A system call that this architecture does not have needs no rule.
        if (result < 0 && result != -EDOM) throw system_error(-result, what_);
    }

    std::string what_;
    std::unique_ptr<void, Release> filter_;
};

}  // namespace imaged
