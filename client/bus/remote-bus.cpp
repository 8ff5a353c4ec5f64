// SPDX-License-Identifier: Apache-2.0
#include "bus/remote-bus.hpp"

#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "base/child-process.hpp"
#include "base/error.hpp"
#include "base/printable.hpp"
#include "base/socket-message.hpp"
#include "ui/display-text.hpp"

namespace imagectl {

namespace {

using imaged::ChildProcess;
using imaged::FileDescriptor;

constexpr const char* no_server = "org.freedesktop.DBus.Error.NoServer";
constexpr const char* bridge = "systemd-stdio-bridge";
// Of a bus's answer to AUTH; what is longer is none.
constexpr std::size_t max_greeting_line = 1024;
// What ssh said last is printed before its end is reported.
constexpr auto last_words_time = std::chrono::milliseconds(500);
constexpr int look_milliseconds = 200;
// One whose stream has ended ends as well.
constexpr auto end_time = std::chrono::seconds(2);

// [USER@]HOST[:PORT], where HOST may be an IPv6 address in brackets, as in a URL.
struct SshTarget {
    std::string name;                 // with the user
    std::optional<std::string> port;  // by default ssh's own
};

bool is_name(std::string_view text, std::string_view others) {
    return !text.empty() && text[0] != '-' && std::all_of(text.begin(), text.end(), [&](char c) {
        return g_ascii_isalnum(c) != FALSE || others.find(c) != std::string_view::npos;
    });
}

bool is_port(std::string_view text) {
    unsigned number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() && number >= 1 && number <= 65535;
}

std::optional<SshTarget> parse_host(std::string_view text) {
    const auto at = text.rfind('@');
    const auto user = at == std::string_view::npos ? std::string_view() : text.substr(0, at);
    if (at != std::string_view::npos && !is_name(user, ".-_+\\@")) return std::nullopt;
    auto name = text.substr(at == std::string_view::npos ? 0 : at + 1);
    std::optional<std::string> port;
    if (name.starts_with('[')) {
        const auto end = name.find(']');
        if (end == std::string_view::npos) return std::nullopt;
        const auto rest = name.substr(end + 1);
        if (!rest.empty() && rest[0] != ':') return std::nullopt;
        if (!rest.empty()) port = rest.substr(1);
        name = name.substr(1, end - 1);
    } else if (const auto colon = name.find(':');
               colon != std::string_view::npos && name.find(':', colon + 1) == name.npos) {
        port = name.substr(colon + 1);
        name = name.substr(0, colon);
    }
    if (!is_name(name, ".-_:%") || (port && !is_port(*port))) return std::nullopt;
    return SshTarget{(user.empty() ? std::string() : std::string(user) + "@") + std::string(name), port};
}

ChildProcess start(const std::vector<std::string>& command, int stream, int errors) {
    return ChildProcess::start(
        {.command = command,
         .descriptors = {{stream, STDIN_FILENO}, {stream, STDOUT_FILENO}, {errors, STDERR_FILENO}},
         .death_signal = SIGTERM,
         .prepare =
             [] {
                 // Ctrl-C cancels the job by way of this process.
                 std::signal(SIGINT, SIG_IGN);
                 std::signal(SIGPIPE, SIG_DFL);
             }},
        "fork");
}

// What the process says goes to standard error as it comes, made safe for a terminal. Ready when it has ended.
std::future<void> pass_on(FileDescriptor errors) {
    std::promise<void> ended;
    auto future = ended.get_future();
    std::thread([errors = std::move(errors), ended = std::move(ended)]() mutable {
        std::array<char, 4096> buffer{};
        for (ssize_t count = 0; (count = ::read(errors.get(), buffer.data(), buffer.size())) != 0;) {
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) break;
            std::string text(buffer.data(), static_cast<std::size_t>(count));
            // ssh ends its lines as for a terminal in raw mode.
            std::erase(text, '\r');
            std::fputs(imaged::printable_lines(text).c_str(), stderr);
        }
        errors.reset();
        ended.set_value();
    }).detach();
    return future;
}

// Up to the end of a line; byte by byte, since what follows is not this function's. Ends with the process CHILD, too:
// what it leaves behind may hold the other end of FD.
std::string receive_line(int fd, ChildProcess& child) {
    std::string line;
    char c = 0;
    while (line.size() < max_greeting_line) {
        if (!imaged::is_readable(fd, look_milliseconds)) {
            if (child.ended()) break;
            continue;
        }
        const auto count = ::read(fd, &c, 1);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0 || c == '\n') break;
        line += c;
    }
    return line;
}

// D-Bus Specification, "Authentication Protocol". The bridge does not ask who this is: that was ssh's business.
bool authenticate(int fd, ChildProcess& child, std::string& answer) {
    // With what a trace may show (ANONYMOUS, RFC 4505): "imagectl".
    static constexpr char request[] = "\0AUTH ANONYMOUS 696d61676563746c\r\n";
    // If it fails, no answer will come.
    imaged::send_all(fd, std::as_bytes(std::span(request, sizeof request - 1)));
    answer = receive_line(fd, child);
    if (!answer.starts_with("OK ")) return false;
    imaged::send_all(fd, std::as_bytes(std::span("BEGIN\r\n", 7)));
    return true;
}

// Why there is no bus: ANSWER, or how the process CHILD has ended.
std::string reason(const std::vector<std::string>& command, ChildProcess& child, const std::string& answer) {
    if (!answer.empty())
        return "it answers '" + escaped(answer.substr(0, 80)) +
               "', which no bus does; does a shell there print something?";
    const auto status = child.ended_within(end_time);
    if (!status) return "nothing answers";
    const auto& name = command.front();
    if (WIFSIGNALED(*status)) return name + " was ended by signal " + std::to_string(WTERMSIG(*status));
    if (const auto why = child.failure())
        return why->ends_with(std::strerror(ENOENT)) ? name + " is not installed on this machine" : *why;
    if (WEXITSTATUS(*status) == imaged::cannot_run)
        return name + " ended with status 127: systemd-stdio-bridge, which is part of systemd, is missing there";
    return name + " ended with status " + std::to_string(WEXITSTATUS(*status));
}

}  // namespace

void check_host(const std::string& host) {
    if (!parse_host(host)) throw UsageError("'" + host + "' is no host: give [USER@]HOST[:PORT]");
}

std::vector<std::string> bridge_command(const Bus& bus) {
    if (bus.kind == Bus::Kind::machine) return {bridge, "--machine=" + bus.address};
    const char* ssh = std::getenv("SYSTEMD_SSH");
    std::vector<std::string> command{ssh && *ssh ? ssh : "ssh", "-xT"};
    const auto host = parse_host(bus.address).value();
    if (host.port) command.insert(command.end(), {"-p", *host.port});
    command.insert(command.end(), {"--", host.name, bridge});
    return command;
}

Object<GIOStream> open_bridge(const Bus& bus) {
    const auto command = bridge_command(bus);
    FileDescriptor stream;
    ChildProcess child;
    std::future<void> said;
    try {
        auto [ours, theirs] = imaged::make_socket_pair(SOCK_STREAM);
        auto [errors, their_errors] = imaged::make_pipe();
        child = start(command, theirs.get(), their_errors.get());
        said = pass_on(std::move(errors));
        stream = std::move(ours);
    } catch (const imaged::Error& error) {
        throw BusError(no_server, error.what());
    }
    std::string answer;
    if (!authenticate(stream.get(), child, answer)) {
        stream.reset();
        const auto why = reason(command, child, answer);
        said.wait_for(last_words_time);
        throw BusError(no_server, "cannot connect to " + bus.description() + ": " + why);
    }
    // GDBus offers no passing of descriptors over a stream that is no socket to it: ssh would lose them.
    const Object<GOutputStream> out(g_unix_output_stream_new(::dup(stream.get()), TRUE));
    const Object<GInputStream> in(g_unix_input_stream_new(stream.release(), TRUE));
    return Object<GIOStream>(g_simple_io_stream_new(in.get(), out.get()));
}

}  // namespace imagectl
