// SPDX-License-Identifier: Apache-2.0
#include "bus/connection.hpp"

#include "bus/remote-bus.hpp"
#include "interface-info.h"

namespace imagectl {

namespace {

using ErrorPointer = std::unique_ptr<GError, imaged::Free<g_error_free>>;
using Message = Object<GDBusMessage>;

BusError bus_error(ErrorPointer error, const char* fallback) {
    std::string name;
    if (char* remote = g_dbus_error_get_remote_error(error.get())) {
        name = remote;
        g_free(remote);
        g_dbus_error_strip_remote_error(error.get());
    } else if (g_error_matches(error.get(), G_IO_ERROR, G_IO_ERROR_TIMED_OUT)) {
        name = "org.freedesktop.DBus.Error.NoReply";
    } else if (g_error_matches(error.get(), G_IO_ERROR, G_IO_ERROR_CLOSED)) {
        name = "org.freedesktop.DBus.Error.Disconnected";
    } else {
        name = fallback;
    }
    return BusError(name, error->message ? error->message : "");
}

// The type that the XML gives the answer of METHOD, as a tuple.
std::string answer_type(const Call& call) {
    if (call.interface == "org.freedesktop.DBus.Properties") return call.method == "Get" ? "(v)" : "(a{sv})";
    const GDBusInterfaceInfo* info =
        call.interface == job_interface ? &org_imaged1_job_interface : &org_imaged1_manager_interface;
    std::string type = "(";
    const GDBusMethodInfo* method =
        g_dbus_interface_info_lookup_method(const_cast<GDBusInterfaceInfo*>(info), call.method.c_str());
    for (GDBusArgInfo** argument = method ? method->out_args : nullptr; argument && *argument; argument++)
        type += (*argument)->signature;
    return type + ")";
}

Message make_message(const Call& call, GDBusConnection* connection) {
    if (call.fds && !(g_dbus_connection_get_capabilities(connection) & G_DBUS_CAPABILITY_FLAGS_UNIX_FD_PASSING))
        throw BusError("org.freedesktop.DBus.Error.NotSupported",
                       "a file of this machine cannot be handed to another one: copy it there, and run imagectl there");
    Message message(g_dbus_message_new_method_call(call.destination.c_str(), call.path.c_str(), call.interface.c_str(),
                                                   call.method.c_str()));
    auto flags = G_DBUS_MESSAGE_FLAGS_NONE;
    if (call.interactive) flags = G_DBUS_MESSAGE_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION;
    if (!call.starts_imaged) flags = G_DBUS_MESSAGE_FLAGS_NO_AUTO_START;
    g_dbus_message_set_flags(message.get(), flags);
    if (call.arguments) g_dbus_message_set_body(message.get(), call.arguments.get());
    if (call.fds) g_dbus_message_set_unix_fd_list(message.get(), call.fds);
    return message;
}

Reply read_reply(GDBusMessage* answer, GError* failure, const std::string& method, const std::string& type) {
    ErrorPointer error(failure);
    GError* remote = nullptr;
    if (!error && g_dbus_message_to_gerror(answer, &remote)) error.reset(remote);
    if (error) {
        BusError result = bus_error(std::move(error), "org.freedesktop.DBus.Error.Disconnected");
        if (result.name() == "org.freedesktop.DBus.Error.ServiceUnknown" ||
            result.name() == "org.freedesktop.DBus.Error.NameHasNoOwner")
            throw BusError(result.name(), std::string("imaged is not on the bus: ") + result.what());
        if (result.name() == "org.freedesktop.DBus.Error.NoReply")
            throw BusError(result.name(), "imaged did not answer " + method + ": " + result.what());
        throw result;
    }
    GVariant* body = g_dbus_message_get_body(answer);
    Reply reply{body ? Variant(g_variant_ref(body)) : adopt(g_variant_new_tuple(nullptr, 0)), {}};
    if (!g_variant_is_of_type(reply.body.get(), G_VARIANT_TYPE(type.c_str())))
        throw BusError(malformed_answer, "imaged's answer to " + method + " has the type " +
                                             g_variant_get_type_string(reply.body.get()) + " instead of " + type);
    if (const char* sender = g_dbus_message_get_sender(answer)) reply.sender = sender;
    return reply;
}

struct Pending {
    std::string method, type;
    Connection::Done done;
};

void answered(GObject* source, GAsyncResult* result, gpointer data) {
    const std::unique_ptr<Pending> pending(static_cast<Pending*>(data));
    GError* error = nullptr;
    const Message answer(g_dbus_connection_send_message_with_reply_finish(G_DBUS_CONNECTION(source), result, &error));
    std::unique_ptr<Reply> reply;
    std::unique_ptr<BusError> failure;
    try {
        reply = std::make_unique<Reply>(read_reply(answer.get(), error, pending->method, pending->type));
    } catch (const BusError& caught) {
        failure = std::make_unique<BusError>(caught);
    }
    pending->done(reply.get(), failure.get());
}

}  // namespace

std::string Bus::description() const {
    switch (kind) {
        case Kind::system: return "the system bus";
        case Kind::session: return "the session bus";
        case Kind::address: return "the bus at the given address";
        case Kind::host:
        case Kind::machine: return "the system bus of " + address;
    }
    return {};
}

Connection::Connection(const Bus& bus) {
    constexpr auto flags = static_cast<GDBusConnectionFlags>(G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                                             G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION);
    GError* error = nullptr;
    GDBusConnection* connection = nullptr;
    if (bus.kind == Bus::Kind::address) {
        connection = g_dbus_connection_new_for_address_sync(bus.address.c_str(), flags, nullptr, nullptr, &error);
    } else if (bus.is_remote()) {
        // One for all of this process, as GLib has it for its own buses: it may take seconds.
        static Object<GDBusConnection> shared;
        if (!shared)
            shared.reset(g_dbus_connection_new_sync(open_bridge(bus).get(), nullptr,
                                                    G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, nullptr, nullptr,
                                                    &error));
        if (shared) connection = G_DBUS_CONNECTION(g_object_ref(shared.get()));
    } else {
        connection =
            g_bus_get_sync(bus.kind == Bus::Kind::session ? G_BUS_TYPE_SESSION : G_BUS_TYPE_SYSTEM, nullptr, &error);
    }
    if (!connection) {
        const ErrorPointer cause(error);
        throw BusError("org.freedesktop.DBus.Error.NoServer",
                       "cannot connect to " + bus.description() + ": " + cause->message);
    }
    connection_.reset(connection);
    // The bus going away is an error to report, not a reason to be killed.
    g_dbus_connection_set_exit_on_close(connection, FALSE);
}

Reply Connection::call(Call call) const {
    const Message message = make_message(call, connection_.get());
    GError* error = nullptr;
    const Message answer(
        g_dbus_connection_send_message_with_reply_sync(connection_.get(), message.get(), G_DBUS_SEND_MESSAGE_FLAGS_NONE,
                                                       call.timeout_milliseconds, nullptr, nullptr, &error));
    return read_reply(answer.get(), error, call.method, answer_type(call));
}

void Connection::call_async(Call call, Done done) const {
    const Message message = make_message(call, connection_.get());
    g_dbus_connection_send_message_with_reply(connection_.get(), message.get(), G_DBUS_SEND_MESSAGE_FLAGS_NONE,
                                              call.timeout_milliseconds, nullptr, nullptr, answered,
                                              new Pending{call.method, answer_type(call), std::move(done)});
}

}  // namespace imagectl
