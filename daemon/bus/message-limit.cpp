// SPDX-License-Identifier: Apache-2.0
#include "bus/message-limit.hpp"

#include <malloc.h>
#include <systemd/sd-bus.h>

#include <cstdint>
#include <cstring>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr int mapped_bytes = 128 * 1024;

struct Amount {
    std::size_t text = 0, values = 0;
    bool is_too_much() const { return text > max_message_text || values > max_message_values; }
};

// Adds what is left of MESSAGE's container, and stops when it is too much. False for what is not valid.
bool add(sd_bus_message* message, Amount& amount) {
    char type = 0;
    const char* contents = nullptr;
    int found = 0;
    while ((found = ::sd_bus_message_peek_type(message, &type, &contents)) > 0) {
        ++amount.values;
        if (amount.is_too_much()) return true;
        if (contents != nullptr) {
            if (::sd_bus_message_enter_container(message, type, contents) < 0 || !add(message, amount)) return false;
            if (amount.is_too_much()) return true;
            if (::sd_bus_message_exit_container(message) < 0) return false;
        } else if (type == SD_BUS_TYPE_STRING || type == SD_BUS_TYPE_OBJECT_PATH || type == SD_BUS_TYPE_SIGNATURE) {
            const char* text = nullptr;
            if (::sd_bus_message_read_basic(message, type, &text) < 0) return false;
            amount.text += std::strlen(text);
        } else {
            std::uint64_t value = 0;
            if (::sd_bus_message_read_basic(message, type, &value) < 0) return false;
        }
    }
    return found == 0;
}

// A positive number: nobody else looks at MESSAGE.
int look_at(sd_bus_message* message, void*, sd_bus_error*) {
    Amount amount;
    if (const char* path = ::sd_bus_message_get_path(message)) amount.text = std::strlen(path);
    // What is not valid is refused where it is decoded.
    add(message, amount);
    ::sd_bus_message_rewind(message, 1);
    if (!amount.is_too_much()) return 0;
    std::uint8_t type = 0;
    if (::sd_bus_message_get_type(message, &type) >= 0 && type == SD_BUS_MESSAGE_METHOD_CALL)
        ::sd_bus_reply_method_errorf(message, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                     "a call has at most %zu bytes of text and %zu values", max_message_text,
                                     max_message_values);
    return 1;
}

}  // namespace

void limit_messages(sdbus::IConnection& connection) {
    // The bus's own limit (32 MiB) is how much one message may take until it is refused. It is to go back to the system
    // then: without this, the C library keeps as much as the largest message took, beside the next one.
    ::mallopt(M_MMAP_THRESHOLD, mapped_bytes);
    const int status = ::sd_bus_add_filter(bus::handle(connection), nullptr, look_at, nullptr);
    if (status < 0) throw system_error(-status, "look at each message");
}

}  // namespace imaged
