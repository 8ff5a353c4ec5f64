// SPDX-License-Identifier: Apache-2.0
#include "blob-service.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/printable.hpp"
#include "base/socket-message.hpp"
#include "process-filter.hpp"
#include "registry/blob-fetcher.hpp"
#include "registry/not-understood.hpp"
#include "source/skopeo/blob-request.hpp"
#include "source/skopeo/signature-policy.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

constexpr const char* system_conf = "/etc/containers/registries.conf";
constexpr const char* system_conf_directory = "/etc/containers/registries.conf.d";
constexpr std::size_t max_conf_bytes = 1024 * 1024;
constexpr std::size_t max_conf_files = 1000;
constexpr std::string_view registry_prefix = "docker://";
constexpr std::size_t max_packet_bytes = 4096;
// At once, of one job: 16 layers (LayersAtOnce=), each of which may be read in 6 parts, and some that are ending.
constexpr int max_fetches = 128;

void add_file(std::vector<std::string>& texts, const std::string& path) {
    const auto file = try_open_file(AT_FDCWD, path);
    if (file) texts.push_back(read_all(file.get(), max_conf_bytes, path));
}

// The files of registries.conf in the order in which they are read.
std::vector<std::string> conf_texts(const std::optional<std::string>& named) {
    std::vector<std::string> texts;
    add_file(texts, named.value_or(system_conf));
    if (texts.empty() && named) throw NotUnderstood(*named + " is missing");
    std::vector<std::string> further;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(system_conf_directory, none)) {
        if (entry.path().string().ends_with(".conf")) further.push_back(entry.path().string());
    }
    if (further.size() > max_conf_files) throw NotUnderstood("registries.conf.d: too many files");
    std::sort(further.begin(), further.end());
    for (const auto& path : further) add_file(texts, path);
    return texts;
}

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

// Where skopeo finds logins and configuration of its user. A user who has any there gets skopeo, which reads them.
void refuse_own_configuration() {
    for (const char* name : {"REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR"}) {
        if (!variable(name).empty()) throw NotUnderstood(std::string("the variable ") + name);
    }
    auto home = variable("HOME");
    if (home.empty()) {
        if (const auto* const user = ::getpwuid(::getuid())) home = user->pw_dir;
    }
    const auto own = variable("XDG_CONFIG_HOME"), run = variable("XDG_RUNTIME_DIR");
    std::vector<std::string> places{"/run/containers/" + std::to_string(::getuid()) + "/auth.json"};
    if (!run.empty()) places.push_back(run + "/containers/auth.json");
    if (!own.empty()) places.push_back(own + "/containers");
    if (!home.empty()) {
        for (const char* name : {"/.config/containers", "/.docker", "/.dockercfg"}) places.push_back(home + name);
    }
    for (const auto& place : places) {
        std::error_code none;
        if (fs::exists(place, none)) throw NotUnderstood(place);
    }
}

std::unique_ptr<BlobFetcher> make_fetcher(const SkopeoRequest& request, const FileDescriptor& auth) {
    if (!request.image.starts_with(registry_prefix)) throw NotUnderstood("no image of a registry");
    refuse_own_configuration();
    const auto conf = read_registries_conf(conf_texts(request.registries_conf),
                                           full_registry_name(request.image.substr(registry_prefix.size())));
    if (conf.credential_helpers && request.host_credentials) throw NotUnderstood("credential helpers");
    RegistrySettings settings;
    settings.proxies = ProxyEnvironment::of_process();
    settings.client_certificates = request.host_credentials;
    if (auth) {
        if (::lseek(auth.get(), 0, SEEK_SET) != 0) throw_errno("read the credentials");
        settings.logins = AuthDocument(read_all(auth.get(), max_skopeo_file_bytes, "credentials"));
    }
    return std::make_unique<BlobFetcher>(conf.endpoints, std::move(settings));
}

class Service {
public:
    explicit Service(std::unique_ptr<BlobFetcher> fetcher, std::string refusal)
        : fetcher_(std::move(fetcher)), refusal_(std::move(refusal)) {}

    void take(std::string_view packet, std::vector<FileDescriptor> pipes) {
        if (pipes.size() != blob_descriptors) throw Error(ErrorKind::failed, "a request without its pipes");
        auto request = decode_blob_request(packet);
        if (!fetcher_ || running_ >= max_fetches)
            return say(pipes[1], {BlobReport::State::left_to_skopeo, ErrorKind::failed, refusal_});
        ++running_;
        std::thread([this, request = std::move(request), pipes = std::move(pipes)] {
            fetcher_->fetch(request, pipes[0].get(), [&](const BlobReport& report) { say(pipes[1], report); });
            --running_;
        }).detach();
    }

private:
    static void say(const FileDescriptor& pipe, const BlobReport& report) {
        const auto line = encode(report);
        // A pipe takes as much at once. If no process reads it, the report is lost.
        static_cast<void>(!::write(pipe.get(), line.data(), line.size()));
    }

    const std::unique_ptr<BlobFetcher> fetcher_;
    const std::string refusal_;  // why there is none
    std::atomic<int> running_ = 0;
};

}  // namespace

void serve_blobs(int channel, const SkopeoRequest& request, const FileDescriptor& auth) {
    // As a skopeo in this place.
    if (!request.host_credentials) {
        ::unsetenv("PATH");
        ::unsetenv("HOME");
    }
    ::signal(SIGPIPE, SIG_IGN);
    std::unique_ptr<BlobFetcher> fetcher;
    std::string refusal;
    try {
        leave_other_processes_alone();
        start_no_program();
        fetcher = make_fetcher(request, auth);
    } catch (const std::exception& error) {
        refusal = printable(error.what());
    }
    auto& service = *new Service(std::move(fetcher), std::move(refusal));  // for threads that end with the process
    for (;;) {
        std::array<char, max_packet_bytes> packet;
        iovec buffer{packet.data(), packet.size()};
        auto received = receive_message(channel, std::span(&buffer, 1), blob_descriptors);
        if (received.size <= 0 || received.cut) ::_exit(0);
        try {
            service.take({packet.data(), static_cast<std::size_t>(received.size)}, std::move(received.descriptors));
        } catch (const std::exception&) {
            ::_exit(1);
        }
    }
}

}  // namespace imaged
