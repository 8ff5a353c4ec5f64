// SPDX-License-Identifier: Apache-2.0
// Loaded in front of the C library: lets one kind of system call fail, as a broken disk does. FAULT_CALL names it,
// FAULT_AFTER says how many succeed before, FAULT_ERRNO with what it fails from then on, FAULT_PATH what the path of
// its file must contain, FAULT_TIMES how many fail (all by default), FAULT_NAME what the name given to openat must
// contain. FAULT_RUN is a shell command that runs once, before the first call that would fail; without
// FAULT_ERRNO no call fails.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::atomic<long> calls{0};

const char* setting(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

bool is_about(int fd) {
    char link[64], path[PATH_MAX];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const auto size = ::readlink(link, path, sizeof path - 1);
    if (size < 0) return false;
    path[size] = '\0';
    return std::strstr(path, setting("FAULT_PATH")) != nullptr;
}

// Whether this call of NAME about FD is one that fails; errno says how.
bool fails(const char* name, int fd) {
    if (std::strcmp(setting("FAULT_CALL"), name) != 0 || !is_about(fd)) return false;
    const auto call = calls++, after = std::atol(setting("FAULT_AFTER")), times = std::atol(setting("FAULT_TIMES"));
    if (call < after || (times != 0 && call >= after + times)) return false;
    if (const char* command = setting("FAULT_RUN"); call == after && *command != '\0') {
        // Not in the shell as well.
        const std::string script = "unset LD_PRELOAD FAULT_RUN; " + std::string(command);
        if (std::system(script.c_str()) != 0) std::fputs("FAULT_RUN failed\n", stderr);
    }
    errno = std::atoi(setting("FAULT_ERRNO"));
    return errno != 0;
}

bool opening_fails(int directory, const char* path, int flags) {
    const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    return std::strstr(path, setting("FAULT_NAME")) != nullptr && fails(creates ? "create" : "openat", directory);
}

template <typename Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
    static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
    return fails("write", fd) ? -1 : real(fd, data, size);
}

ssize_t read(int fd, void* data, size_t size) {
    static const auto real = next<ssize_t (*)(int, void*, size_t)>("read");
    return fails("read", fd) ? -1 : real(fd, data, size);
}

// Two names of one call: of programs that were built for large files, and of libraries that were not.
#define IMAGED_OPENAT(NAME)                                                                     \
    int NAME(int directory, const char* path, int flags, ...) {                                 \
        static const auto real = next<int (*)(int, const char*, int, mode_t)>(#NAME);           \
        va_list arguments;                                                                      \
        va_start(arguments, flags);                                                             \
        const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0; \
        va_end(arguments);                                                                      \
        return opening_fails(directory, path, flags) ? -1 : real(directory, path, flags, mode); \
    }
IMAGED_OPENAT(openat)
IMAGED_OPENAT(openat64)

// What a fortified program calls without a mode.
#define IMAGED_OPENAT_2(NAME)                                                             \
    int NAME(int directory, const char* path, int flags) {                                \
        static const auto real = next<int (*)(int, const char*, int)>(#NAME);             \
        return opening_fails(directory, path, flags) ? -1 : real(directory, path, flags); \
    }
IMAGED_OPENAT_2(__openat_2)
IMAGED_OPENAT_2(__openat64_2)

int renameat(int from, const char* name, int to, const char* new_name) {
    static const auto real = next<int (*)(int, const char*, int, const char*)>("renameat");
    return fails("renameat", to) ? -1 : real(from, name, to, new_name);
}

int renameat2(int from, const char* name, int to, const char* new_name, unsigned flags) {
    static const auto real = next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
    return fails("renameat", to) ? -1 : real(from, name, to, new_name, flags);
}

int linkat(int from, const char* name, int to, const char* new_name, int flags) {
    static const auto real = next<int (*)(int, const char*, int, const char*, int)>("linkat");
    return fails("linkat", to) ? -1 : real(from, name, to, new_name, flags);
}

int mkdirat(int directory, const char* path, mode_t mode) {
    static const auto real = next<int (*)(int, const char*, mode_t)>("mkdirat");
    return fails("mkdirat", directory) ? -1 : real(directory, path, mode);
}

int unlinkat(int directory, const char* path, int flags) {
    static const auto real = next<int (*)(int, const char*, int)>("unlinkat");
    return fails("unlinkat", directory) ? -1 : real(directory, path, flags);
}

dirent* readdir(DIR* directory) {
    static const auto real = next<dirent* (*)(DIR*)>("readdir");
    return fails("readdir", ::dirfd(directory)) ? nullptr : real(directory);
}

dirent64* readdir64(DIR* directory) {
    static const auto real = next<dirent64* (*)(DIR*)>("readdir64");
    return fails("readdir", ::dirfd(directory)) ? nullptr : real(directory);
}

int flock(int fd, int operation) {
    static const auto real = next<int (*)(int, int)>("flock");
    return fails("flock", fd) ? -1 : real(fd, operation);
}

// Only locks by the open descriptor fail: all else that fcntl(2) does has nothing to do with a disk.
#define IMAGED_FCNTL(NAME)                                                                              \
    int NAME(int fd, int command, ...) {                                                                \
        static const auto real = next<int (*)(int, int, void*)>(#NAME);                                 \
        va_list arguments;                                                                              \
        va_start(arguments, command);                                                                   \
        void* argument = va_arg(arguments, void*);                                                      \
        va_end(arguments);                                                                              \
        const bool locks = command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK; \
        return locks && fails("fcntl", fd) ? -1 : real(fd, command, argument);                          \
    }
IMAGED_FCNTL(fcntl)
IMAGED_FCNTL(fcntl64)

// Only FICLONE fails.
int ioctl(int fd, unsigned long request, ...) {
    static const auto real = next<int (*)(int, unsigned long, void*)>("ioctl");
    va_list arguments;
    va_start(arguments, request);
    void* argument = va_arg(arguments, void*);
    va_end(arguments);
    return request == FICLONE && fails("ficlone", fd) ? -1 : real(fd, request, argument);
}

// FAULT_PATH must be empty.
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument) {
    static const auto real =
        next<int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
    return fails("pthread_create", STDERR_FILENO) ? errno : real(thread, attributes, run, argument);
}

// FAULT_PATH must be empty.
pid_t fork() {
    static const auto real = next<pid_t (*)()>("fork");
    return fails("fork", STDERR_FILENO) ? -1 : real();
}

int fchown(int fd, uid_t uid, gid_t gid) {
    static const auto real = next<int (*)(int, uid_t, gid_t)>("fchown");
    return fails("fchown", fd) ? -1 : real(fd, uid, gid);
}

int futimens(int fd, const timespec times[2]) {
    static const auto real = next<int (*)(int, const timespec*)>("futimens");
    return fails("futimens", fd) ? -1 : real(fd, times);
}

int syncfs(int fd) {
    static const auto real = next<int (*)(int)>("syncfs");
    return fails("syncfs", fd) ? -1 : real(fd);
}

int fsync(int fd) {
    static const auto real = next<int (*)(int)>("fsync");
    return fails("fsync", fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    static const auto real = next<int (*)(int)>("fdatasync");
    return fails("fdatasync", fd) ? -1 : real(fd);
}

}  // extern "C"
