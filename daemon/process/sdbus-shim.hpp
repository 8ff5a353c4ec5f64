// SPDX-License-Identifier: Apache-2.0
// Hides the differences between sdbus-c++ 1 and 2: version 2 has strong types for names and renamed a few calls.
#pragma once

#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-bus.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace imaged {

using VariantMap = std::map<std::string, sdbus::Variant>;  // a{sv}

}  // namespace imaged

namespace imaged::bus {

#if __has_include(<sdbus-c++/VTableItems.h>)
using ServiceName = sdbus::ServiceName;
using InterfaceName = sdbus::InterfaceName;
using PropertyName = sdbus::PropertyName;
using SignalName = sdbus::SignalName;
using MethodName = sdbus::MethodName;
using ErrorName = sdbus::Error::Name;
using ReplyError = std::optional<sdbus::Error>;
inline std::string sender(const sdbus::IObject& object) {
    return object.getCurrentlyProcessedMessage().getSender();
}
inline bool process(sdbus::IConnection& connection) {
    return connection.processPendingEvent();
}
inline std::optional<int> second_descriptor(const sdbus::IConnection::PollData& data) {
    return data.eventFd;
}
template <typename Callback>
sdbus::Slot watch(sdbus::IConnection& connection, const std::string& match, Callback&& callback) {
    return connection.addMatch(match, std::forward<Callback>(callback), sdbus::return_slot);
}
#else
using ServiceName = std::string;
using InterfaceName = std::string;
using PropertyName = std::string;
using SignalName = std::string;
using MethodName = std::string;
using ErrorName = std::string;
using ReplyError = const sdbus::Error*;
inline std::string sender(const sdbus::IObject& object) {
    const auto* message = object.getCurrentlyProcessedMessage();
    return message != nullptr ? message->getSender() : std::string();
}
inline bool process(sdbus::IConnection& connection) {
    return connection.processPendingRequest();
}
inline std::optional<int> second_descriptor(const sdbus::IConnection::PollData&) {
    return std::nullopt;
}
template <typename Callback>
sdbus::Slot watch(sdbus::IConnection& connection, const std::string& match, Callback&& callback) {
    return connection.addMatch(match, std::forward<Callback>(callback));
}
#endif

// The object at PATH of the service NAME.
inline std::unique_ptr<sdbus::IProxy> make_proxy(sdbus::IConnection& connection, const std::string& name,
                                                 const std::string& path) {
    auto proxy = sdbus::createProxy(connection, ServiceName{name}, sdbus::ObjectPath{path});
#if !__has_include(<sdbus-c++/VTableItems.h>)
    proxy->finishRegistration();
#endif
    return proxy;
}

inline sdbus::MethodCall method_call(sdbus::IProxy& proxy, const std::string& interface, const std::string& method) {
    return proxy.createMethodCall(InterfaceName{interface}, MethodName{method});
}

// Sends CALL. CALLBACK(sdbus::MethodReply&, const sdbus::Error*) gets the answer before it is read, so that one of
// other types than expected is not lost.
template <typename Callback>
void call_async(sdbus::IProxy& proxy, const sdbus::MethodCall& call, std::chrono::microseconds timeout,
                Callback&& callback) {
#if __has_include(<sdbus-c++/VTableItems.h>)
    proxy.callMethodAsync(
        call,
        [callback = std::forward<Callback>(callback)](sdbus::MethodReply reply, std::optional<sdbus::Error> error) {
            callback(reply, error ? &*error : nullptr);
        },
        static_cast<std::uint64_t>(timeout.count()));
#else
    proxy.callMethod(call, std::forward<Callback>(callback), timeout);
#endif
}

inline sdbus::Error error(const std::string& name, const std::string& message) {
    return {ErrorName{name}, message};
}

// The library has no function for what it does not know of a message.
struct MessageAccess : sdbus::Message {
    static sd_bus_message* of(const sdbus::Message& message) {
        return static_cast<sd_bus_message*>(message.*&MessageAccess::msg_);
    }
};

// Which sd-bus connection CONNECTION is, which its interface does not say, but each of its messages knows.
inline sd_bus* handle(sdbus::IConnection& connection) {
    const auto object = sdbus::createObject(connection, sdbus::ObjectPath{"/"});
    return ::sd_bus_message_get_bus(
        MessageAccess::of(object->createSignal(InterfaceName{"org.imaged1"}, SignalName{"Message"})));
}

// Whether the caller of the method that OBJECT is being asked allows a dialogue: the flag
// ALLOW_INTERACTIVE_AUTHORIZATION of its message.
inline bool allows_dialogue(const sdbus::IObject& object) {
#if __has_include(<sdbus-c++/VTableItems.h>)
    const auto message = object.getCurrentlyProcessedMessage();
    return ::sd_bus_message_get_allow_interactive_authorization(MessageAccess::of(message)) > 0;
#else
    const auto* message = object.getCurrentlyProcessedMessage();
    return message != nullptr && ::sd_bus_message_get_allow_interactive_authorization(MessageAccess::of(*message)) > 0;
#endif
}

}  // namespace imaged::bus
