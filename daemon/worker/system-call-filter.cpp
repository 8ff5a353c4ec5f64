// SPDX-License-Identifier: Apache-2.0
#include "system-call-filter.hpp"

#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <memory>

#include "base/error.hpp"

namespace imaged {

namespace {

// Mounts and namespaces, other processes, the kernel, the clock, keys: nothing of it is a job's business. It matters
// most for what CAP_SYS_ADMIN would allow, which a job keeps for extended attributes.
constexpr std::array refused{SCMP_SYS(mount),
                             SCMP_SYS(umount2),
                             SCMP_SYS(pivot_root),
                             SCMP_SYS(chroot),
                             SCMP_SYS(setns),
                             SCMP_SYS(unshare),
                             SCMP_SYS(open_tree),
                             SCMP_SYS(move_mount),
                             SCMP_SYS(fsopen),
                             SCMP_SYS(fsconfig),
                             SCMP_SYS(fsmount),
                             SCMP_SYS(fspick),
                             SCMP_SYS(mount_setattr),
                             SCMP_SYS(ptrace),
                             SCMP_SYS(process_vm_readv),
                             SCMP_SYS(process_vm_writev),
                             SCMP_SYS(kexec_load),
                             SCMP_SYS(kexec_file_load),
                             SCMP_SYS(init_module),
                             SCMP_SYS(finit_module),
                             SCMP_SYS(delete_module),
                             SCMP_SYS(bpf),
                             SCMP_SYS(perf_event_open),
                             SCMP_SYS(userfaultfd),
                             SCMP_SYS(keyctl),
                             SCMP_SYS(add_key),
                             SCMP_SYS(request_key),
                             SCMP_SYS(reboot),
                             SCMP_SYS(swapon),
                             SCMP_SYS(swapoff),
                             SCMP_SYS(acct),
                             SCMP_SYS(quotactl),
                             SCMP_SYS(settimeofday),
                             SCMP_SYS(clock_settime),
                             SCMP_SYS(adjtimex),
                             SCMP_SYS(clock_adjtime),
                             SCMP_SYS(iopl),
                             SCMP_SYS(ioperm),
                             SCMP_SYS(open_by_handle_at),
                             SCMP_SYS(sethostname),
                             SCMP_SYS(setdomainname),
                             SCMP_SYS(syslog),
                             SCMP_SYS(vhangup),
                             SCMP_SYS(io_uring_setup),
                             SCMP_SYS(fanotify_init)};
constexpr std::array<unsigned long, 7> namespaces{CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                                  CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

struct Release {
    void operator()(void* filter) const { ::seccomp_release(filter); }
};

void check(int result) {
    // A system call that this architecture does not have needs no rule.
    if (result < 0 && result != -EDOM) throw system_error(-result, "system call filter");
}

}  // namespace

void filter_system_calls(Network network) {
    const std::unique_ptr<void, Release> filter(::seccomp_init(SCMP_ACT_ALLOW));
    if (!filter) throw Error(ErrorKind::failed, "system call filter: out of memory");
    const auto no = SCMP_ACT_ERRNO(EPERM);
    for (const int call : refused) check(::seccomp_rule_add(filter.get(), no, call, 0));
    for (const auto flag : namespaces)
        check(::seccomp_rule_add(filter.get(), no, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)));
    // Its flags are in memory, where a filter cannot look; the C library falls back to clone.
    check(::seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0));
    for (const scmp_datum_t device : {S_IFCHR, S_IFBLK}) {
        check(::seccomp_rule_add(filter.get(), no, SCMP_SYS(mknodat), 1,
                                 SCMP_A2(SCMP_CMP_MASKED_EQ, static_cast<scmp_datum_t>(S_IFMT), device)));
        check(::seccomp_rule_add(filter.get(), no, SCMP_SYS(mknod), 1,
                                 SCMP_A1(SCMP_CMP_MASKED_EQ, static_cast<scmp_datum_t>(S_IFMT), device)));
    }
    if (network == Network::none)
        check(::seccomp_rule_add(filter.get(), no, SCMP_SYS(socket), 1,
                                 SCMP_A0(SCMP_CMP_NE, static_cast<scmp_datum_t>(AF_UNIX))));
    check(::seccomp_load(filter.get()));
}

}  // namespace imaged
