// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo-process.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <span>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "source/skopeo.hpp"

namespace imaged {

namespace {

// Number in the child, beside those of source/skopeo.hpp.
constexpr int policy_number = 5;
// A file in memory that only its descriptor leads to.
FileDescriptor memory_file(const std::string& text) {
    FileDescriptor file(::memfd_create("policy.json", MFD_CLOEXEC));
    if (!file) throw_errno("memfd_create");
    write_all(file.get(), std::as_bytes(std::span(text)), "the containers policy");
    return file;
}

// skopeo has options for what podman and buildah take from variables.
void add_option(std::vector<std::string>& arguments, const char* option, const char* variable) {
    if (const char* value = std::getenv(variable); value != nullptr && *value != '\0')
        arguments.insert(arguments.begin() + 1, std::string(option) + value);
}

}  // namespace

pid_t spawn_skopeo(std::vector<std::string> arguments, int channel, int child_fd, std::optional<int> auth_file,
                   const std::optional<std::string>& policy) {
    const auto auth = credentials(auth_file);
    if (auth) arguments.push_back("--authfile=/proc/self/fd/" + std::to_string(skopeo_auth_file));
    add_option(arguments, "--registries-conf=", "CONTAINERS_REGISTRIES_CONF");
    add_option(arguments, "--registries.d=", "CONTAINERS_REGISTRIES_D");
    FileDescriptor policy_file;
    if (policy) {
        policy_file = memory_file(*policy);
        arguments.insert(arguments.begin() + 1, "--policy=/proc/self/fd/" + std::to_string(policy_number));
    }
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    // Descriptors that dup2() must not overwrite are moved out of its way first.
    FileDescriptor moved_channel(::fcntl(channel, F_DUPFD_CLOEXEC, 10));
    FileDescriptor moved_policy(policy_file ? ::fcntl(policy_file.get(), F_DUPFD_CLOEXEC, 10) : -1);
    if (!moved_channel || (policy && !moved_policy)) throw_errno("duplicate a descriptor for skopeo");
    const pid_t process = ::fork();
    if (process < 0) throw_errno("fork");
    if (process == 0) {
        // Only async-signal-safe calls from here on: other threads of this process are gone with their locks.
        if (::dup2(moved_channel.get(), child_fd) < 0 || (auth && ::dup2(auth.get(), skopeo_auth_file) < 0) ||
            (moved_policy && ::dup2(moved_policy.get(), policy_number) < 0))
            ::_exit(126);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }
    return process;
}

}  // namespace imaged
