// SPDX-License-Identifier: Apache-2.0
#include "base/requirements.hpp"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/error.hpp"

namespace imaged {

namespace {

// A pull ends with a signal at 96 KiB, and does not at 128.
constexpr rlim_t needed_stack = 1024 * 1024;

}  // namespace

void require_stack() {
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_STACK, &limit) != 0) throw_errno("read the limit of the stack");
    if (limit.rlim_cur >= needed_stack) return;
    const struct rlimit raised { needed_stack, std::max(limit.rlim_max, needed_stack) };
    if (::setrlimit(RLIMIT_STACK, &raised) != 0)
        throw Error(ErrorKind::failed, "the stack is limited to " + std::to_string(limit.rlim_max / 1024) +
                                           " KiB (ulimit -s, LimitSTACK=); imaged needs " +
                                           std::to_string(needed_stack / 1024) + " KiB");
    // The C library took the size of a thread's stack from the limit that the program began with.
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, needed_stack);
    ::pthread_setattr_default_np(&attributes);
    ::pthread_attr_destroy(&attributes);
}

void require_proc() {
    const std::string path = "/proc/self/exe";
    if (::access(path.c_str(), F_OK) != 0) throw_errno("/proc is not mounted, and imaged needs it: " + path);
}

}  // namespace imaged
