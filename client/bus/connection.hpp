// SPDX-License-Identifier: Apache-2.0
// The connection to imaged: selects the bus, and checks the answers of method calls against the interface's XML.
//
// Calls go over the plain GDBus connection and not over generated proxy objects: a proxy would read all properties and
// load a class hierarchy first, which costs more than most verbs do. Everything here throws BusError.
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>

#include <functional>
#include <memory>
#include <string>

#include "bus/bus-error.hpp"
#include "bus/dictionary.hpp"

namespace imagectl {

inline constexpr const char* bus_name = "org.imaged1";
inline constexpr const char* manager_path = "/org/imaged1";
inline constexpr const char* manager_interface = "org.imaged1.Manager";
inline constexpr const char* job_interface = "org.imaged1.Job";
inline constexpr const char* malformed_answer = "org.imaged1.Error.Failed";

struct Bus {
    // host: the system bus of another machine, reached by ssh; machine: that of a container of this one.
    enum class Kind { system, session, address, host, machine } kind = Kind::system;
    std::string address;  // of the bus; [USER@]HOST[:PORT]; the machine's name
    bool is_remote() const { return kind == Kind::host || kind == Kind::machine; }
    std::string description() const;  // "the system bus"
};

template <typename Type>
using Object = imaged::GObjectPtr<Type>;

struct Reply {
    Variant body;
    std::string sender;  // unique bus name
};

struct Call {
    std::string destination = bus_name;
    std::string path = manager_path;
    std::string interface = manager_interface;
    std::string method;
    Variant arguments;              // null for none
    GUnixFDList* fds = nullptr;     // borrowed
    int timeout_milliseconds = -1;  // -1: the bus's usual 25 s; G_MAXINT: for ever
    bool interactive = false;       // somebody may be asked for an authorisation
    bool starts_imaged = true;      // where it is not on the bus
};

class Connection {
public:
    explicit Connection(const Bus& bus);
    GDBusConnection* get() const { return connection_.get(); }

    // Blocks until the answer is there.
    Reply call(Call call) const;
    // Calls DONE from the default main context, with the answer or with an error. Exactly one of both is null.
    using Done = std::function<void(Reply* reply, const BusError* error)>;
    void call_async(Call call, Done done) const;

private:
    Object<GDBusConnection> connection_;
};

}  // namespace imagectl
