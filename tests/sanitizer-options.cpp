// SPDX-License-Identifier: Apache-2.0
// Linked into every program of a build with sanitizers: the options they run with, whatever is left of the environment
// (imaged scrubs its worker's), and where reports go, whatever becomes of what a program says on stderr. A report is a
// file in SANITIZER_REPORTS; sanitizer-reports.py, which comes last, fails if there is one.
//
// These functions run before the sanitizers are ready, so they do as little as possible. ASAN_OPTIONS and the like
// still go over what is said here.
#include <dlfcn.h>
#include <sys/ptrace.h>

#include <cerrno>

#define SHARED_OPTIONS "halt_on_error=1:log_exe_name=1:log_path=" SANITIZER_REPORTS "/report"

namespace {

// GCC's UBSan library tells where reports go by a function that ASan's library has too, and comes first with: what
// UBSan reports would stay on stderr. So its own is called.
[[gnu::constructor]] void send_reports_of_ubsan() {
    void* library = ::dlopen("libubsan.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) return;
    auto* set_path = reinterpret_cast<void (*)(const char*)>(::dlsym(library, "__sanitizer_set_report_path"));
    if (set_path != nullptr) set_path(SANITIZER_REPORTS "/report");
}

}  // namespace

extern "C" {

// The fault layer of test-faulty-system is loaded in front of everything, ASan's own library included.
const char* __asan_default_options() {
    return SHARED_OPTIONS
        ":detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
        ":verify_asan_link_order=0";
}

const char* __ubsan_default_options() {
    return SHARED_OPTIONS ":print_stacktrace=1";
}

const char* __lsan_default_options() {
    return "print_suppressions=0:suppressions=" SANITIZER_SUPPRESSIONS "/leak-sanitizer.supp";
}

const char* __tsan_default_options() {
    return SHARED_OPTIONS ":second_deadlock_stack=1:suppressions=" SANITIZER_SUPPRESSIONS "/thread-sanitizer.supp";
}

// Leaks are looked for with ptrace, which a confined worker's system call filter refuses.
int __lsan_is_turned_off() {
    const bool refused = ::ptrace(PTRACE_PEEKDATA, -1, nullptr, nullptr) == -1 && errno == EPERM;
    return refused ? 1 : 0;
}
}
