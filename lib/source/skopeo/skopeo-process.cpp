// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/skopeo-process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/argument-list.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/socket-message.hpp"
#include "source/skopeo/signature-policy.hpp"
#include "source/skopeo/skopeo-error.hpp"

namespace imaged {

namespace {

using Clock = std::chrono::steady_clock;

// Credentials of the host for image pulls, in the order in which ostree-ext looks.
constexpr std::array host_auth_files{"/run/ostree/auth.json", "/etc/ostree/auth.json"};
// How often it is looked whether a push goes on.
constexpr std::chrono::milliseconds look_interval(500);
// Of a skopeo that is a child of this process: its memory, one file that it writes, such as an archive that it
// decompresses, and its CPU time in seconds.
constexpr rlim_t max_child_memory = 1ULL << 30, max_child_file = 16ULL << 30, max_child_cpu = 4ULL * 3600;
// What a service says of its skopeo.
constexpr std::size_t max_report_bytes = 1024;
// How a service begins that is a descriptor to ask for connections on.
constexpr std::string_view broker_prefix = "fd:";
// By these skopeo finds credentials of the host's: in files, or of helper programs that registries.conf names.
constexpr std::array<std::string_view, 5> credential_variables{
    "HOME=", "XDG_RUNTIME_DIR=", "PATH=", "REGISTRY_AUTH_FILE=", "DOCKER_CONFIG="};
// Numbers in a child that has not become skopeo yet: above those that skopeo gets.
constexpr int first_free_number = 10;

FileDescriptor duplicate(int fd) {
    FileDescriptor copy(::fcntl(fd, F_DUPFD_CLOEXEC, first_free_number));
    if (!copy) throw_errno("duplicate a descriptor for skopeo");
    return copy;
}

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

// This process's environment, for a child, with SCRATCH, unless it is empty, as the place for temporary files. skopeo
// also looks for credentials in the home directory, some versions even beside an --authfile: without HOST_CREDENTIALS
// it has none.
std::vector<std::string> child_environment(const std::string& scratch, bool host_credentials) {
    std::vector<std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        if (!scratch.empty() && text.starts_with("TMPDIR=")) continue;
        const auto leads_to_credentials = [&](std::string_view variable) { return text.starts_with(variable); };
        if (!host_credentials &&
            std::any_of(credential_variables.begin(), credential_variables.end(), leads_to_credentials))
            continue;
        variables.emplace_back(text);
    }
    if (!scratch.empty()) variables.push_back("TMPDIR=" + scratch);
    if (!host_credentials) variables.emplace_back("HOME=/nonexistent");
    return variables;
}

[[noreturn]] void not_connected(int reason, const std::string& path) {
    throw system_error(reason, "connect to " + path + " (is imaged-proxy.socket started?)");
}

// BROKER: the descriptor as the service's name.
FileDescriptor ask_for_connection(const std::string& broker) {
    const int channel = std::stoi(broker.substr(broker_prefix.size()));
    const char question = 'c';
    if (::send(channel, &question, sizeof question, MSG_NOSIGNAL) < 0) throw_errno("ask for a connection");
    int reason = 0;
    iovec buffer{&reason, sizeof reason};
    auto answer = receive_message(channel, std::span(&buffer, 1), 1);
    if (answer.size == sizeof reason && reason != 0) not_connected(reason, "the skopeo service");
    if (answer.size != sizeof reason || answer.descriptors.size() != 1)
        throw Error(ErrorKind::failed, "no connection to the skopeo service");
    return std::move(answer.descriptors.front());
}

FileDescriptor connect_to_service(const std::string& service) {
    if (service.starts_with(broker_prefix)) return ask_for_connection(service);
    auto connection = connect_to(service, SOCK_SEQPACKET);
    if (!connection) not_connected(errno, service);
    return connection;
}

// In the child before exec. A limit that cannot be lowered is lower already.
void limit_resources() {
    const struct rlimit memory { max_child_memory, max_child_memory };
    const struct rlimit file { max_child_file, max_child_file };
    const struct rlimit cpu { max_child_cpu, max_child_cpu };
    ::setrlimit(RLIMIT_DATA, &memory);
    ::setrlimit(RLIMIT_FSIZE, &file);
    ::setrlimit(RLIMIT_CPU, &cpu);
}

[[noreturn]] void stalled(const std::string& what, std::chrono::milliseconds stall_time) {
    throw Error(ErrorKind::source_unreachable,
                what + " stalled: nothing came for " + std::to_string(stall_time.count() / 1000) + " seconds");
}

}  // namespace

std::shared_ptr<SkopeoProcess> start_image_proxy(const ProxyOptions& options) {
    return std::make_shared<SkopeoProcess>(
        SkopeoRequest{.kind = SkopeoRequest::Kind::image_proxy, .policy = load_host_policy()}, options);
}

Credentials credentials(const ProxyOptions& options) {
    if (options.auth_file) return {duplicate(*options.auth_file), "the authfile"};
    if (!options.host_credentials) return {};
    for (const char* path : host_auth_files) {
        const FileDescriptor file(::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        if (!file) continue;
        require_file(file.get(), path);
        return {duplicate(file.get()), path};
    }
    return {};
}

void wait_readable(int fd, const Cancellation& cancellation, std::chrono::milliseconds stall_time,
                   const std::string& what) {
    const auto deadline = Clock::now() + stall_time;
    for (;;) {
        cancellation.check();
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0) stalled(what, stall_time);
        pollfd fds[] = {{fd, POLLIN, 0}, {cancellation.fd(), POLLIN, 0}};
        const int ready = ::poll(fds, 2, static_cast<int>(left.count()));
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (ready > 0 && fds[0].revents != 0) {
            cancellation.check();
            return;
        }
    }
}

SkopeoProcess::SkopeoProcess(SkopeoRequest request, const ProxyOptions& options, std::optional<int> layout)
    : request_(std::move(request)), options_(options) {
    request_.registries_conf = variable("CONTAINERS_REGISTRIES_CONF");
    request_.registries_d = variable("CONTAINERS_REGISTRIES_D");
    request_.host_credentials = options.host_credentials;
    request_.registry = options.registry;
    FileDescriptor theirs;
    if (request_.kind != SkopeoRequest::Kind::image_proxy) {
        auto pipe = make_pipe();
        printed_ = std::move(pipe.ours);
        theirs = std::move(pipe.theirs);
    } else if (is_child()) {
        auto pair = make_socket_pair(SOCK_SEQPACKET);
        channel_ = std::move(pair.ours);
        theirs = std::move(pair.theirs);
    } else {
        theirs = open_at(AT_FDCWD, "/dev/null", O_RDWR);
    }
    if (is_child())
        spawn(theirs.get(), layout);
    else
        connect(theirs.get(), layout);
}

SkopeoProcess::~SkopeoProcess() {
    end();
}

void SkopeoProcess::end() {
    // A service ends its skopeo when it sees this; a supervisor has the connection open as well.
    if (channel_) ::shutdown(channel_.get(), SHUT_RDWR);
    channel_.reset();
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
    process_ = -1;
}

void SkopeoProcess::spawn(int output, std::optional<int> layout) {
    const auto [auth, name] = credentials(options_);
    auth_name_ = name;
    FileDescriptor policy;
    if (request_.policy) policy = duplicate(memory_file("policy.json", *request_.policy).get());
    if (request_.kind == SkopeoRequest::Kind::check_policy) checked_.emplace(request_.blobs);
    std::string scratch;
    try {
        scratch = scratch_.emplace().path().string();
    } catch (const Error&) {
        // Most jobs need none; skopeo reports it for those that do.
    }
    // That of a push from within: its path may have a colon.
    auto command =
        skopeo_command(request_, static_cast<bool>(auth), checked_ ? checked_->path().string() : ".", scratch);
    const auto arguments = null_terminated(command);
    auto variables = child_environment(scratch, options_.host_credentials);
    const auto variable_pointers = null_terminated(variables);
    const bool is_proxy = request_.kind == SkopeoRequest::Kind::image_proxy;
    const int number = is_proxy ? skopeo_channel : prints_messages(request_.kind) ? STDERR_FILENO : STDOUT_FILENO;
    // Descriptors that dup2() must not overwrite are moved out of its way first.
    const auto moved = duplicate(output);
    process_ = ::fork();
    if (process_ < 0) throw_errno("start a process for skopeo");
    if (process_ == 0) {
        // Only async-signal-safe calls from here on: other threads of this process are gone with their locks.
        if (layout && ::fchdir(*layout) != 0) ::_exit(126);
        if (::dup2(moved.get(), number) < 0 || (auth && ::dup2(auth.get(), skopeo_auth_file) < 0) ||
            (policy && ::dup2(policy.get(), skopeo_policy) < 0))
            ::_exit(126);
        limit_resources();
        ::execvpe(arguments[0], arguments.data(), variable_pointers.data());
        ::_exit(127);
    }
}

void SkopeoProcess::connect(int output, std::optional<int> layout) {
    const auto& path = options_.service;
    channel_ = connect_to_service(path);
    const auto [auth, name] = credentials(options_);
    auth_name_ = name;
    FileDescriptor policy;
    if (request_.policy) policy = memory_file("policy.json", *request_.policy);
    std::vector<int> descriptors{output};
    if (auth) descriptors.push_back(auth.get());
    if (policy) descriptors.push_back(policy.get());
    if (layout) descriptors.push_back(*layout);
    auto packet = encode(request_, static_cast<bool>(auth));
    iovec buffer{packet.data(), packet.size()};
    if (send_message(channel_.get(), std::span(&buffer, 1), descriptors) < 0) throw_errno("send to " + path);
}

// Takes what the service has said, of which there is none of a child. Waits for it at most LIMIT.
void SkopeoProcess::hear(std::chrono::milliseconds limit) {
    pollfd ready{channel_.get(), POLLIN, 0};
    while (channel_ && ::poll(&ready, 1, static_cast<int>(limit.count())) > 0) {
        limit = {};
        std::array<char, max_report_bytes> packet;
        const auto size = ::recv(channel_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
        if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (size <= 0) {
            channel_.reset();
            return;
        }
        const auto report = parse_json({packet.data(), static_cast<std::size_t>(size)});
        if (!report.is_object()) continue;
        traffic_told_ |= report.contains("traffic");
        if (const auto found = report.find("status"); found != report.end() && found->is_number_integer())
            status_ = found->get<int>();
        if (const auto found = report.find("manifest"); found != report.end() && found->is_string())
            checked_manifest_ = found->get<std::string>();
    }
}

// Whether it has read or written anything since this was asked last, sockets included.
bool SkopeoProcess::has_moved() {
    if (!is_child()) {
        hear({});
        return std::exchange(traffic_told_, false);
    }
    if (!traffic_) traffic_.emplace(process_);
    return traffic_->has_moved();
}

std::string SkopeoProcess::output(const Cancellation& cancellation, std::size_t limit, const std::string& what) {
    const bool moving_counts = request_.kind == SkopeoRequest::Kind::push;
    std::string text;
    auto changed = Clock::now();
    for (;;) {
        cancellation.check();
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(changed + options_.stall_time - Clock::now());
        if (left.count() <= 0) stalled(what, options_.stall_time);
        pollfd fds[] = {{printed_.get(), POLLIN, 0}, {cancellation.fd(), POLLIN, 0}};
        const int ready = ::poll(fds, 2, static_cast<int>(std::min(left, look_interval).count()));
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (moving_counts && has_moved()) changed = Clock::now();
        if (ready <= 0 || fds[0].revents == 0) continue;
        std::array<char, 65536> buffer;
        const auto count = ::read(printed_.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read from skopeo");
        if (count == 0) return text;
        changed = Clock::now();
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() <= limit) continue;
        if (!prints_messages(request_.kind))
            throw Error(ErrorKind::unsupported_image,
                        what + " is larger than the limit of " + std::to_string(limit) + " bytes");
        text.resize(limit);
    }
}

int SkopeoProcess::wait(const Cancellation& cancellation) {
    const auto deadline = Clock::now() + options_.stall_time;
    while (!status_) {
        cancellation.check();
        if (is_child()) {
            // It has closed what it printed to: it is on its way out.
            int status = 0;
            if (const pid_t found = ::waitpid(process_, &status, WNOHANG); found == process_) {
                process_ = -1;
                status_ = status;
                break;
            }
            ::usleep(1000);
        } else {
            if (!channel_) throw Error(ErrorKind::failed, "the skopeo service did not say how skopeo ended");
            hear(look_interval);
        }
        if (!status_ && Clock::now() > deadline) stalled("the end of skopeo", options_.stall_time);
    }
    return *status_;
}

Error SkopeoProcess::named(const Error& error) const {
    std::string text = error.what();
    if (auth_name_.empty()) return error;
    const std::string_view path = skopeo_auth_path;
    for (auto found = text.find(path); found != std::string::npos; found = text.find(path, found + auth_name_.size()))
        text.replace(found, path.size(), auth_name_);
    // Some versions do not say which.
    if (text.find(credentials_words) != std::string::npos && text.find(auth_name_) == std::string::npos)
        text += " (in " + auth_name_ + ")";
    return Error(error.kind(), text);
}

std::string SkopeoProcess::checked_manifest() const {
    return checked_ ? checked_->manifest_digest() : checked_manifest_;
}

std::optional<int> SkopeoProcess::ended() {
    int status = 0;
    if (process_ > 0 && ::waitpid(process_, &status, WNOHANG) == process_) {
        process_ = -1;
        status_ = status;
    }
    return status_;
}

}  // namespace imaged
