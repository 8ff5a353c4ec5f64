// SPDX-License-Identifier: Apache-2.0
// A skopeo that is a child of this process.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "base/child-process.hpp"
#include "base/scratch-directory.hpp"
#include "base/socket-message.hpp"
#include "source/skopeo/policy-layout.hpp"
#include "source/skopeo/process-traffic.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

namespace {

// Its memory, one file that it writes, such as an archive that it decompresses, and its CPU time in seconds.
constexpr rlim_t max_child_memory = 1ULL << 30, max_child_file = 16ULL << 30, max_child_cpu = 4ULL * 3600;
// By these skopeo finds credentials of the host's: in files, or of helper programs that registries.conf names.
constexpr std::array<std::string_view, 4> credential_variables{
    "HOME=", "PATH=", "REGISTRY_AUTH_FILE=", "DOCKER_CONFIG="};

// Whether skopeo would fail because it may not look for logins of its user. Without XDG_RUNTIME_DIR they are below
// /run/containers, which a podman of root's makes for root alone.
bool cannot_look_for_logins() {
    if (const char* own = std::getenv("XDG_RUNTIME_DIR"); own && *own) return false;
    const auto place = "/run/containers/" + std::to_string(::getuid()) + "/auth.json";
    return ::access(place.c_str(), F_OK) != 0 && errno == EACCES;
}

// This process's environment, for a child, with SCRATCH, unless it is empty, as the place for temporary files. skopeo
// also looks for credentials in the home directory, some versions even beside an --authfile: without HOST_CREDENTIALS
// it has none.
std::vector<std::string> child_environment(const std::string& scratch, bool host_credentials) {
    const bool no_logins = !host_credentials || cannot_look_for_logins();
    std::vector<std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        if (!scratch.empty() && text.starts_with("TMPDIR=")) continue;
        if (no_logins && text.starts_with("XDG_RUNTIME_DIR=")) continue;
        const auto leads_to_credentials = [&](std::string_view variable) { return text.starts_with(variable); };
        if (!host_credentials &&
            std::any_of(credential_variables.begin(), credential_variables.end(), leads_to_credentials))
            continue;
        variables.emplace_back(text);
    }
    if (!scratch.empty()) variables.push_back("TMPDIR=" + scratch);
    if (!host_credentials) variables.emplace_back("HOME=/nonexistent");
    if (no_logins) variables.push_back("XDG_RUNTIME_DIR=" + (scratch.empty() ? "/nonexistent" : scratch));
    return variables;
}

// A limit that cannot be lowered is lower already.
void limit_resources() {
    const struct rlimit memory { max_child_memory, max_child_memory };
    const struct rlimit file { max_child_file, max_child_file };
    const struct rlimit cpu { max_child_cpu, max_child_cpu };
    ::setrlimit(RLIMIT_DATA, &memory);
    ::setrlimit(RLIMIT_FSIZE, &file);
    ::setrlimit(RLIMIT_CPU, &cpu);
}

class SkopeoChild : public SkopeoRun {
public:
    SkopeoChild(SkopeoRequest wanted, const ProxyOptions& options, std::optional<int> layout)
        : SkopeoRun(std::move(wanted), options) {
        const bool is_proxy = request_.kind == SkopeoRequest::Kind::image_proxy;
        DescriptorPair pair;
        if (is_proxy) pair = make_socket_pair(SOCK_SEQPACKET);
        channel_ = std::move(pair.ours);
        const auto files = this->files(std::move(pair.theirs));
        if (request_.kind == SkopeoRequest::Kind::check_policy) checked_.emplace(request_.blobs);
        std::string scratch;
        try {
            scratch = scratch_.emplace().path().string();
        } catch (const Error&) {
            // Most jobs need none; skopeo reports it for those that do.
        }
        // That of a push from within: its path may have a colon.
        Program program{.command = skopeo_command(request_, static_cast<bool>(files.auth),
                                                  checked_ ? checked_->path().string() : ".", scratch),
                        .environment = child_environment(scratch, options_.host_credentials),
                        .prepare = [layout] {
                            if (layout && ::fchdir(*layout) != 0) throw_errno("use the layout");
                            ::signal(SIGXFSZ, SIG_DFL);  // the worker ignores it
                            limit_resources();
                        }};
        const int printed = prints_messages(request_.kind) ? STDERR_FILENO : STDOUT_FILENO;
        program.descriptors.push_back({files.output.get(), is_proxy ? skopeo_channel : printed});
        FileDescriptor nowhere;
        if (is_quiet(request_.kind)) {
            nowhere = open_at(AT_FDCWD, "/dev/null", O_WRONLY);
            program.descriptors.push_back({nowhere.get(), STDERR_FILENO});
        }
        if (files.auth) program.descriptors.push_back({files.auth.get(), skopeo_auth_file});
        if (files.policy) program.descriptors.push_back({files.policy.get(), skopeo_policy});
        process_ = ChildProcess::start(program, "start a process for skopeo");
    }
    ~SkopeoChild() override { process_.end(); }

    int wait(const Cancellation& cancellation) override {
        // It has closed what it printed to: it is on its way out.
        if (process_) wait_readable(process_.fd(), cancellation, options_.stall_time, "the end of skopeo");
        const int status = process_.wait();
        require_skopeo(process_);
        return status;
    }
    std::optional<int> ended_within(std::chrono::milliseconds limit) override {
        const auto status = process_.ended_within(limit);
        if (status) require_skopeo(process_);
        return status;
    }
    std::string checked_manifest() const override { return checked_->manifest_digest(); }

private:
    bool has_moved() override {
        if (!traffic_) traffic_.emplace(process_.pid());
        return traffic_->has_moved();
    }

    // Where it unpacks archives, and where it copies to: it has ended before they are removed.
    std::optional<ScratchDirectory> scratch_;
    std::optional<PolicyLayout> checked_;
    ChildProcess process_;
    std::optional<ProcessTraffic> traffic_;
};

}  // namespace

std::shared_ptr<SkopeoRun> SkopeoRun::start_child(SkopeoRequest request, const ProxyOptions& options,
                                                  std::optional<int> layout) {
    return std::make_shared<SkopeoChild>(std::move(request), options, layout);
}

}  // namespace imaged
