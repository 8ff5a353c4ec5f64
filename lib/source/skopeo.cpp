// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// Credentials of the host for image pulls, in the order in which ostree-ext looks.
constexpr std::array host_auth_files{"/run/ostree/auth.json", "/etc/ostree/auth.json"};
// The service gets its output as the first descriptor of the packet, then the auth file and the directory, if any.
constexpr std::size_t max_descriptors = 3;

constexpr const char* kind_name(SkopeoRequest::Kind kind) {
    switch (kind) {
        case SkopeoRequest::Kind::image_proxy: return "image-proxy";
        case SkopeoRequest::Kind::inspect_raw: return "inspect-raw";
        case SkopeoRequest::Kind::push: return "push";
    }
    return "";
}

[[noreturn]] void refuse(const std::string& why) {
    throw Error(ErrorKind::failed, "request for skopeo: " + why);
}

std::string text(const json& document, const char* key) {
    const auto found = document.find(key);
    if (found == document.end() || !found->is_string()) refuse(std::string("no text \"") + key + "\"");
    return found->get<std::string>();
}

}  // namespace

std::vector<std::string> skopeo_command(const SkopeoRequest& request, bool has_auth_file) {
    std::vector<std::string> command{"skopeo"};
    if (!request.registries_conf.empty()) command.push_back("--registries-conf=" + request.registries_conf);
    switch (request.kind) {
        case SkopeoRequest::Kind::image_proxy:
            command.insert(command.end(), {"experimental-image-proxy", "--sockfd", std::to_string(skopeo_channel)});
            break;
        case SkopeoRequest::Kind::inspect_raw: command.insert(command.end(), {"inspect", "--raw"}); break;
        case SkopeoRequest::Kind::push:
            // The containers policy is about where images come from, and this one is ours.
            command.insert(command.end(), {"--insecure-policy", "copy", "--quiet", "--preserve-digests"});
            break;
    }
    if (has_auth_file) command.push_back("--authfile=/proc/self/fd/" + std::to_string(skopeo_auth_file));
    if (request.kind != SkopeoRequest::Kind::image_proxy) command.emplace_back("--");
    if (request.kind == SkopeoRequest::Kind::push) command.push_back("oci:.:" + request.tag);
    if (request.kind != SkopeoRequest::Kind::image_proxy) command.push_back(request.image);
    return command;
}

std::string encode(const SkopeoRequest& request, bool has_auth_file) {
    return json{{"kind", kind_name(request.kind)},
                {"image", request.image},
                {"registries-conf", request.registries_conf},
                {"tag", request.tag},
                {"auth-file", has_auth_file}}
        .dump(-1, ' ', false, json::error_handler_t::replace);
}

ReceivedRequest decode_skopeo_request(std::string_view packet) {
    const auto document = json::parse(packet, nullptr, false);
    if (!document.is_object()) refuse("not a JSON object");
    ReceivedRequest received;
    const auto kind = text(document, "kind");
    bool known = false;
    for (const auto candidate :
         {SkopeoRequest::Kind::image_proxy, SkopeoRequest::Kind::inspect_raw, SkopeoRequest::Kind::push}) {
        if (kind != kind_name(candidate)) continue;
        received.request.kind = candidate;
        known = true;
    }
    if (!known) refuse("unknown kind \"" + kind + "\"");
    received.request.image = text(document, "image");
    received.request.registries_conf = text(document, "registries-conf");
    received.request.tag = text(document, "tag");
    const auto auth_file = document.find("auth-file");
    received.has_auth_file = auth_file != document.end() && auth_file->is_boolean() && auth_file->get<bool>();
    return received;
}

std::string wanted_registries_conf() {
    const char* path = std::getenv("CONTAINERS_REGISTRIES_CONF");
    return path != nullptr ? path : "";
}

FileDescriptor credentials(std::optional<int> given) {
    if (given) {
        FileDescriptor copy(::fcntl(*given, F_DUPFD_CLOEXEC, 10));
        if (!copy) throw_errno("duplicate the descriptor of the credentials");
        return copy;
    }
    for (const char* path : host_auth_files) {
        FileDescriptor file(::open(path, O_RDONLY | O_CLOEXEC));
        if (file) return FileDescriptor(::fcntl(file.get(), F_DUPFD_CLOEXEC, 10));
    }
    return {};
}

pid_t spawn_skopeo(const SkopeoRequest& request, int channel, int channel_number, std::optional<int> auth_file,
                   std::optional<int> directory) {
    const auto auth = credentials(auth_file);
    auto command = skopeo_command(request, static_cast<bool>(auth));
    std::vector<char*> arguments;
    for (auto& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    // Descriptors that dup2() must not overwrite are moved out of its way first.
    const FileDescriptor moved(::fcntl(channel, F_DUPFD_CLOEXEC, 10));
    if (!moved) throw_errno("duplicate a descriptor for skopeo");
    const pid_t process = ::fork();
    if (process < 0) throw_errno("fork");
    if (process == 0) {
        // Only async-signal-safe calls from here on: other threads of this process are gone with their locks.
        if (directory && ::fchdir(*directory) != 0) ::_exit(126);
        if (::dup2(moved.get(), channel_number) < 0 || (auth && ::dup2(auth.get(), skopeo_auth_file) < 0)) ::_exit(126);
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }
    return process;
}

void end_process(pid_t process) {
    if (process <= 0) return;
    ::kill(process, SIGKILL);
    while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
    }
}

FileDescriptor connect_skopeo(const std::string& path, const SkopeoRequest& request, int output,
                              std::optional<int> auth_file, std::optional<int> directory) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw Error(ErrorKind::failed, "path of a socket too long: " + path);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    FileDescriptor channel(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!channel) throw_errno("socket");
    if (::connect(channel.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        throw_errno("connect to " + path + " (is imaged-proxy.socket started?)");

    const auto auth = credentials(auth_file);
    const FileDescriptor null = output < 0 ? open_at(AT_FDCWD, "/dev/null", O_RDWR) : FileDescriptor();
    std::array<int, max_descriptors> descriptors{output < 0 ? null.get() : output};
    std::size_t count = 1;
    if (auth) descriptors[count++] = auth.get();
    if (directory) descriptors[count++] = *directory;
    auto packet = encode(request, static_cast<bool>(auth));
    iovec buffer{packet.data(), packet.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(max_descriptors * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), count * sizeof(int));
    if (::sendmsg(channel.get(), &message, MSG_NOSIGNAL) < 0) throw_errno("send to " + path);
    return channel;
}

}  // namespace imaged
