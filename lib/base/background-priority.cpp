// SPDX-License-Identifier: Apache-2.0
#include "base/background-priority.hpp"

#include <linux/ioprio.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace imaged {

void take_background_priority() noexcept {
    constexpr int lowest_nice = 19, this_thread = 0;
    ::setpriority(PRIO_PROCESS, this_thread, lowest_nice);
    const struct sched_param none {};
    ::sched_setscheduler(this_thread, SCHED_IDLE, &none);
    ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, this_thread, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

}  // namespace imaged
