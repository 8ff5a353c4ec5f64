// SPDX-License-Identifier: Apache-2.0
#include "configuration-note.hpp"

#include <exception>

namespace imagectl {

namespace {

// It has just answered; what it does now is no reason to wait.
constexpr int patience_milliseconds = 2000;

}  // namespace

void tell_of_configuration(const Bus& bus) noexcept {
    try {
        Call call;
        call.interface = "org.freedesktop.DBus.Properties";
        call.method = "Get";
        call.arguments = adopt(g_variant_new("(ss)", manager_interface, "ConfigurationError"));
        call.timeout_milliseconds = patience_milliseconds;
        call.starts_imaged = false;
        const auto reply = Connection(bus).call(std::move(call));
        GVariant* held = nullptr;
        g_variant_get(reply.body.get(), "(v)", &held);
        const auto value = adopt(held);
        if (g_variant_is_of_type(held, G_VARIANT_TYPE_STRING) == FALSE) return;
        const std::string error = g_variant_get_string(held, nullptr);
        if (!error.empty()) print_note("warning: imaged has not taken its configuration: " + error);
    } catch (const std::exception&) {
        // An imaged that knows no such property, or has left.
    }
}

}  // namespace imagectl
