// SPDX-License-Identifier: Apache-2.0
#include "remote-bus.hpp"

#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace imagectl {

namespace {

constexpr const char* no_server = "org.freedesktop.DBus.Error.NoServer";
constexpr const char* bridge = "systemd-stdio-bridge";
// As a shell has it for a command that cannot be run.
constexpr int cannot_run = 127;

// USER@HOST and PORT; no port, or an IPv6 address in brackets, as in a URL.
std::pair<std::string, std::string> split_port(std::string host) {
    std::string port;
    const auto colon = host.rfind(':');
    const bool only = colon != std::string::npos && (host.find(':') == colon || host[colon - (colon > 0)] == ']');
    if (only) {
        port = host.substr(colon + 1);
        host.resize(colon);
    }
    host.erase(std::remove_if(host.begin(), host.end(), [](char c) { return c == '[' || c == ']'; }), host.end());
    return {host, port};
}

[[noreturn]] void become(const std::vector<std::string>& command, int stream, pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    // Ctrl-C cancels the job by way of this process.
    std::signal(SIGINT, SIG_IGN);
    std::signal(SIGPIPE, SIG_DFL);
    ::dup2(stream, STDIN_FILENO);
    ::dup2(stream, STDOUT_FILENO);
    std::vector<char*> words;
    for (const auto& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    std::fprintf(stderr, "imagectl: cannot run %s: %s\n", words[0], std::strerror(errno));
    ::_exit(cannot_run);
}

// Without a descriptor of a socket GDBus offers no passing of descriptors: ssh would lose them.
Object<GIOStream> plain_stream(int fd) {
    const Object<GInputStream> in(g_unix_input_stream_new(fd, TRUE));
    const Object<GOutputStream> out(g_unix_output_stream_new(::dup(fd), TRUE));
    return Object<GIOStream>(g_simple_io_stream_new(in.get(), out.get()));
}

Object<GIOStream> socket_stream(int fd) {
    const Object<GSocket> socket(g_socket_new_from_fd(fd, nullptr));
    return Object<GIOStream>(G_IO_STREAM(g_socket_connection_factory_create_connection(socket.get())));
}

}  // namespace

void check_host(const std::string& host) {
    const auto [name, port] = split_port(host);
    const bool odd = std::any_of(host.begin(), host.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; });
    const bool digits = std::all_of(port.begin(), port.end(), [](unsigned char c) { return c >= '0' && c <= '9'; });
    if (name.empty() || name.starts_with('-') || name.ends_with('@') || odd || host.ends_with(':') || !digits)
        throw UsageError("'" + host + "' is no host: give [USER@]HOST[:PORT]");
}

std::vector<std::string> bridge_command(const Bus& bus) {
    if (bus.kind == Bus::Kind::machine) return {bridge, "--machine=" + bus.address};
    const char* ssh = std::getenv("SYSTEMD_SSH");
    std::vector<std::string> command{ssh && *ssh ? ssh : "ssh", "-xT"};
    const auto [host, port] = split_port(bus.address);
    if (!port.empty()) command.insert(command.end(), {"-p", port});
    command.insert(command.end(), {"--", host, bridge});
    return command;
}

Object<GIOStream> open_bridge(const Bus& bus) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw BusError(no_server, std::string("socketpair: ") + std::strerror(errno));
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child == 0) become(bridge_command(bus), ends[1], parent);
    const int reason = errno;
    ::close(ends[1]);
    auto stream = bus.kind == Bus::Kind::machine ? socket_stream(ends[0]) : plain_stream(ends[0]);
    if (child < 0) throw BusError(no_server, std::string("fork: ") + std::strerror(reason));
    return stream;
}

}  // namespace imagectl
