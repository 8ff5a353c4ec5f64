// SPDX-License-Identifier: Apache-2.0
// A skopeo of the system's service (skopeo-request.hpp says what goes over the connection to it).

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/socket-message.hpp"
#include "source/skopeo/skopeo-error.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_report_bytes = 1024;
// How the name of a service begins that is a descriptor to ask for connections on.
constexpr std::string_view broker_prefix = "fd:";

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

class SkopeoService : public SkopeoRun {
public:
    SkopeoService(SkopeoRequest wanted, const ProxyOptions& options, std::optional<int> layout)
        : SkopeoRun(std::move(wanted), options) {
        channel_ = connect_to_service(*options_.service);
        // With a channel nothing is printed that anybody reads.
        const auto files = this->files(open_at(AT_FDCWD, "/dev/null", O_RDWR));
        std::vector<int> descriptors{files.output.get()};
        if (files.auth) descriptors.push_back(files.auth.get());
        if (files.policy) descriptors.push_back(files.policy.get());
        if (layout) descriptors.push_back(*layout);
        auto packet = encode(request_, static_cast<bool>(files.auth));
        iovec buffer{packet.data(), packet.size()};
        if (send_message(channel_.get(), std::span(&buffer, 1), descriptors) < 0)
            throw_errno("send to " + *options_.service);
    }
    ~SkopeoService() override {
        // The service ends its skopeo when it sees this; a supervisor has the connection open as well.
        if (channel_) ::shutdown(channel_.get(), SHUT_RDWR);
    }

    int wait(const Cancellation& cancellation) override {
        const auto deadline = std::chrono::steady_clock::now() + options_.stall_time;
        while (!status_) {
            cancellation.check();
            if (!channel_) throw Error(ErrorKind::failed, "the skopeo service did not say how skopeo ended");
            if (std::chrono::steady_clock::now() > deadline) stalled("the end of skopeo", options_.stall_time);
            take_reports(skopeo_check_interval);
        }
        return *status_;
    }
    std::optional<int> ended_within(std::chrono::milliseconds) override {
        take_reports({});
        return status_;
    }
    std::string checked_manifest() const override { return checked_manifest_; }

private:
    bool has_moved() override {
        take_reports({});
        return std::exchange(traffic_reported_, false);
    }

    // Takes what the service has said. Waits for it at most LIMIT.
    void take_reports(std::chrono::milliseconds limit) {
        while (channel_ && is_readable(channel_.get(), static_cast<int>(limit.count()))) {
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
            traffic_reported_ |= report.contains("traffic");
            if (const auto found = report.find("error"); found != report.end() && found->is_string())
                throw skopeo_error(found->get<std::string>());
            if (const auto found = report.find("status"); found != report.end() && found->is_number_integer())
                status_ = found->get<int>();
            if (const auto found = report.find("manifest"); found != report.end() && found->is_string())
                checked_manifest_ = found->get<std::string>();
        }
    }

    bool traffic_reported_ = false;  // since it was asked last
    std::optional<int> status_;
    std::string checked_manifest_;
};

}  // namespace

std::shared_ptr<SkopeoRun> SkopeoRun::start_service(SkopeoRequest request, const ProxyOptions& options,
                                                    std::optional<int> layout) {
    return std::make_shared<SkopeoService>(std::move(request), options, layout);
}

}  // namespace imaged
