// SPDX-License-Identifier: Apache-2.0
#include "process/host-conditions.hpp"

#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdint>
#include <utility>

namespace imaged {

namespace {

using namespace std::chrono_literals;

constexpr const char* power_name = "org.freedesktop.UPower";
constexpr const char* power_path = "/org/freedesktop/UPower";
constexpr const char* network_name = "org.freedesktop.NetworkManager";
constexpr const char* network_path = "/org/freedesktop/NetworkManager";
// Either service may have to be started first.
constexpr std::chrono::seconds answer_time = 5s;
// NMMetered: the connection is, or NetworkManager guesses that it is.
constexpr std::uint32_t metered_yes = 1, metered_guess_yes = 3;

// Calls FOUND later with the property of the interface NAME on SERVICE; with nullopt if there is none of type Value.
template <typename Value>
void get_property(sdbus::IProxy& service, const char* name, const char* property,
                  std::function<void(std::optional<Value>)> found) {
    auto call = bus::method_call(service, "org.freedesktop.DBus.Properties", "Get");
    call << std::string(name) << std::string(property);
    const auto what = std::string(name) + "." + property;
    bus::call_async(service, call, answer_time,
                    [what, found = std::move(found)](sdbus::MethodReply& reply, const sdbus::Error* error) {
                        std::optional<Value> value;
                        try {
                            if (error != nullptr) throw *error;
                            sdbus::Variant answer;
                            reply >> answer;
                            value = answer.get<Value>();
                        } catch (const sdbus::Error& failure) {
                            spdlog::debug("{} is not known: {}", what, failure.getMessage());
                        }
                        found(value);
                    });
}

}  // namespace

HostConditions::HostConditions(sdbus::IConnection& connection)
    : power_(bus::make_proxy(connection, power_name, power_path)),
      network_(bus::make_proxy(connection, network_name, network_path)) {}

void HostConditions::ask(bool network, Answer answer) {
    get_property<bool>(*power_, power_name, "OnBattery",
                       [this, network, answer = std::move(answer)](std::optional<bool> battery) {
                           if (battery == true) return answer("the host runs on battery");
                           if (!network) return answer(std::nullopt);
                           ask_about_network(answer);
                       });
}

void HostConditions::ask_about_network(const Answer& answer) {
    get_property<std::uint32_t>(*network_, network_name, "Metered", [answer](std::optional<std::uint32_t> metered) {
        if (metered == metered_yes || metered == metered_guess_yes) return answer("the network connection is metered");
        answer(std::nullopt);
    });
}

}  // namespace imaged
