// SPDX-License-Identifier: Apache-2.0
#include "process-filter.hpp"

#include <asm/sockios.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.hpp"
#include "base/seccomp-filter.hpp"

namespace imaged {

namespace {

// Names, because not every libseccomp knows each of them. Those with a process as their first argument.
constexpr std::array signalling_calls{"kill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tgkill"};
constexpr std::array calls_to_others{"kcmp",
                                     "pidfd_getfd",
                                     "pidfd_send_signal",
                                     "process_madvise",
                                     "process_mrelease",
                                     "process_vm_readv",
                                     "process_vm_writev",
                                     "ptrace",
                                     "tkill"};
// Whom the kernel signals when there is something to read.
constexpr std::array<scmp_datum_t, 3> owner_commands{F_SETOWN, F_SETOWN_EX, F_SETSIG};
constexpr std::array<scmp_datum_t, 2> owner_requests{FIOSETOWN, SIOCSPGRP};
constexpr scmp_datum_t low_word = 0xffffffff;  // the kernel looks at no more of a request

// One that refuses nothing yet.
SeccompFilter make_filter() {
    return {"system call filter of skopeo", SCMP_ACT_ALLOW};
}

template <typename... Conditions>
void refuse(SeccompFilter& filter, const char* name, Conditions... conditions) {
    filter.add(SCMP_ACT_ERRNO(EPERM), name, conditions...);
}

void load(const SeccompFilter& filter) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno("set no-new-privileges");
    filter.load();
}

}  // namespace

void leave_other_processes_alone() {
    auto filter = make_filter();
    const auto own = static_cast<scmp_datum_t>(::getpid());
    for (const auto* name : signalling_calls) refuse(filter, name, SCMP_A0(SCMP_CMP_NE, own));
    for (const auto* name : calls_to_others) refuse(filter, name);
    refuse(filter, "prlimit64", SCMP_A0(SCMP_CMP_NE, 0));  // 0 is itself
    for (const auto command : owner_commands) {
        for (const auto* name : {"fcntl", "fcntl64"})
            refuse(filter, name, SCMP_A1(SCMP_CMP_MASKED_EQ, low_word, command));
    }
    for (const auto request : owner_requests) refuse(filter, "ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, low_word, request));
    load(filter);
}

void start_no_program() {
    auto filter = make_filter();
    for (const auto* name : {"execve", "execveat"}) refuse(filter, name);
    load(filter);
}

}  // namespace imaged
