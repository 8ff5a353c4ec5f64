// SPDX-License-Identifier: Apache-2.0
#include "base/background-priority.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace imaged {

void take_background_priority() noexcept {
    constexpr int lowest_nice = 19, this_thread = 0;
    // ioprio_set(2); C++ cannot read <linux/ioprio.h> of some kernels (6.1.192 of Debian 12).
    constexpr int of_process = 1, idle_class = 3, class_shift = 13;
    ::setpriority(PRIO_PROCESS, this_thread, lowest_nice);
    const struct sched_param none {};
    ::sched_setscheduler(this_thread, SCHED_IDLE, &none);
    ::syscall(SYS_ioprio_set, of_process, this_thread, idle_class << class_shift);
}

}  // namespace imaged
