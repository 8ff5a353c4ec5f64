// SPDX-License-Identifier: Apache-2.0
#include "bus/job-monitor.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <tuple>
#include <utility>

namespace imagectl {

namespace {
constexpr const char* properties_interface = "org.freedesktop.DBus.Properties";
// Far more than a daemon says before it answers; beyond it the oldest state is read from the properties anyway.
constexpr std::size_t max_early_signals = 10'000;

bool has_type(const Variant& value, const char* type) {
    return g_variant_is_of_type(value.get(), G_VARIANT_TYPE(type));
}
}  // namespace

JobMonitor::JobMonitor(const Connection& connection, JobEvents events)
    : connection_(connection), events_(std::move(events)) {
    signals_ = g_dbus_connection_signal_subscribe(connection.get(), bus_name, nullptr, nullptr, nullptr, nullptr,
                                                  G_DBUS_SIGNAL_FLAGS_NONE, received, this, nullptr);
    owner_signals_ = g_dbus_connection_signal_subscribe(
        connection.get(), "org.freedesktop.DBus", "org.freedesktop.DBus", "NameOwnerChanged", "/org/freedesktop/DBus",
        bus_name, G_DBUS_SIGNAL_FLAGS_NONE, owner_changed, this, nullptr);
    closed_handler_ = g_signal_connect(connection.get(), "closed", G_CALLBACK(closed), this);
}

JobMonitor::~JobMonitor() {
    *alive_ = false;
    g_dbus_connection_signal_unsubscribe(connection_.get(), signals_);
    g_dbus_connection_signal_unsubscribe(connection_.get(), owner_signals_);
    g_signal_handler_disconnect(connection_.get(), closed_handler_);
}

void JobMonitor::start(const std::string& unique_name, const std::vector<std::pair<std::uint32_t, std::string>>& jobs) {
    daemon_ = unique_name;
    for (const auto& [id, path] : jobs) follow(id, path);
    const auto early = std::move(early_);
    early_.clear();
    for (const auto& signal : early) handle(signal);
}

void JobMonitor::follow(std::uint32_t id, const std::string& path) {
    const auto [place, is_new] = jobs_.try_emplace(path);
    if (!is_new) return;
    place->second.status.id = id;
    place->second.status.path = path;
    read_properties(path);
}

void JobMonitor::received(GDBusConnection*, const char* sender, const char* path, const char* interface,
                          const char* name, GVariant* arguments, gpointer self) {
    auto& monitor = *static_cast<JobMonitor*>(self);
    Signal signal{sender ? sender : "", path, interface, name, Variant(g_variant_ref(arguments))};
    if (!monitor.daemon_.empty())
        monitor.handle(signal);
    else if (monitor.early_.size() < max_early_signals)
        monitor.early_.push_back(std::move(signal));
}

void JobMonitor::owner_changed(GDBusConnection*, const char*, const char*, const char*, const char*,
                               GVariant* arguments, gpointer self) {
    auto& monitor = *static_cast<JobMonitor*>(self);
    if (!g_variant_is_of_type(arguments, G_VARIANT_TYPE("(sss)"))) return;
    const char *name = nullptr, *before = nullptr, *after = nullptr;
    g_variant_get(arguments, "(&s&s&s)", &name, &before, &after);
    if (!monitor.daemon_.empty() && before == monitor.daemon_) monitor.lose("imaged left the bus before the job ended");
}

void JobMonitor::closed(GDBusConnection*, gboolean, GError*, gpointer self) {
    static_cast<JobMonitor*>(self)->lose("the bus closed the connection");
}

void JobMonitor::lose(const std::string& message) {
    if (std::exchange(lost_, true)) return;
    events_.lost(BusError("org.freedesktop.DBus.Error.Disconnected", message));
}

void JobMonitor::handle(const Signal& signal) {
    if (signal.sender != daemon_) return;
    if (signal.interface == manager_interface && signal.name == "JobNew" && has_type(signal.arguments, "(uo)")) {
        guint32 id = 0;
        const char* path = nullptr;
        g_variant_get(signal.arguments.get(), "(u&o)", &id, &path);
        if (events_.appeared) events_.appeared(id, path);
        return;
    }
    if (signal.interface != job_interface && signal.interface != properties_interface) return;
    const auto found = jobs_.find(signal.path);
    if (found != jobs_.end() && !found->second.ended) handle_job(found->second, signal);
}

void JobMonitor::handle_job(FollowedJob& job, const Signal& signal) {
    if (signal.interface == properties_interface) {
        if (signal.name != "PropertiesChanged" || !has_type(signal.arguments, "(sa{sv}as)")) return;
        const char* interface = nullptr;
        g_variant_get_child(signal.arguments.get(), 0, "&s", &interface);
        if (std::string_view(interface) != job_interface) return;
        apply_properties(job.status, Dictionary(Variant(g_variant_get_child_value(signal.arguments.get(), 1))));
        // The whole outcome is in the properties now; the Finished signal may be first, and is then the end.
        if (job.status.state == "finished") return read_properties(job.status.path);
    } else if (signal.name == "LayerProgress" && has_type(signal.arguments, "(usstt)")) {
        guint32 index = 0;
        const char *digest = nullptr, *state = nullptr;
        guint64 done = 0, total = 0;
        g_variant_get(signal.arguments.get(), "(u&s&stt)", &index, &digest, &state, &done, &total);
        if (job.status.layers.size() >= max_shown_layers && !job.status.layers.contains(index)) return;
        job.status.layers[index] = {digest, state, done, total};
    } else if (signal.name == "Finished" && has_type(signal.arguments, "(sssa{sv})")) {
        const char *result = nullptr, *error_name = nullptr, *message = nullptr;
        g_variant_get(signal.arguments.get(), "(&s&s&s@a{sv})", &result, &error_name, &message, nullptr);
        job.status.result = result;
        job.status.error_name = error_name;
        job.status.error_message = message;
        const auto outcome = g_variant_get_child_value(signal.arguments.get(), 3);
        const bool is_empty = g_variant_n_children(outcome) == 0;
        job.outcome = Dictionary(Variant(outcome));
        // The properties have been asked for, and say the same with all else that is to be shown.
        if (!job.known) return;
        // The signal for everybody does not have what is for the job's user and root.
        return is_empty ? read_outcome(job.status.path) : end(job);
    }
    events_.changed(job);
}

void JobMonitor::ask(const std::string& path, Call call, Answered answered) {
    call.destination = daemon_;
    call.path = path;
    connection_.call_async(std::move(call), [this, path, answered = std::move(answered), alive = alive_](
                                                Reply* reply, const BusError* error) {
        if (!*alive || lost_) return;
        if (auto& job = jobs_.at(path); !job.ended) answered(job, reply, error);
    });
}

void JobMonitor::read_properties(const std::string& path) {
    Call call;
    call.interface = properties_interface;
    call.method = "GetAll";
    call.arguments = adopt(g_variant_new("(s)", job_interface));
    ask(path, std::move(call), [this](FollowedJob& job, Reply* reply, const BusError* error) {
        if (error && !job.status.result.empty()) return end(job);
        if (error) {
            lost_ = true;
            return events_.lost(*error);
        }
        const Dictionary properties(Variant(g_variant_get_child_value(reply->body.get(), 0)));
        apply_properties(job.status, properties);
        job.known = true;
        if (job.status.state != "finished") return events_.changed(job);
        job.outcome = properties.dictionary("Outcome");
        if (properties.flag("Complete") == false) return read_outcome(job.status.path);
        end(job);
    });
}

// The properties do not have the whole end of the job. A daemon that does not give it has given what it gives.
void JobMonitor::read_outcome(const std::string& path) {
    Call call;
    call.interface = job_interface;
    call.method = "GetOutcome";
    ask(path, std::move(call), [this](FollowedJob& job, Reply* reply, const BusError* error) {
        if (!error && has_type(reply->body, "(sssa{sv})")) {
            const char *result = nullptr, *name = nullptr, *message = nullptr;
            g_variant_get_child(reply->body.get(), 0, "&s", &result);
            // It goes on for others; what the signal said is all.
            if (*result == '\0') return end(job);
            g_variant_get_child(reply->body.get(), 1, "&s", &name);
            g_variant_get_child(reply->body.get(), 2, "&s", &message);
            job.status.error_name = name;
            job.status.error_message = message;
            job.outcome = Dictionary(Variant(g_variant_get_child_value(reply->body.get(), 3)));
        }
        end(job);
    });
}

void apply_properties(JobStatus& status, const Dictionary& properties) {
    const auto text = [&](const char* key, std::string& field) {
        if (auto value = properties.text(key)) field = std::move(*value);
    };
    const auto number = [&](const char* key, auto& field) {
        if (const auto value = properties.number(key))
            field = static_cast<std::remove_reference_t<decltype(field)>>(*value);
    };
    text("Kind", status.kind);
    text("Image", status.image);
    if (auto images = properties.words("Images"); !images.empty()) status.images = std::move(images);
    text("State", status.state);
    text("Phase", status.phase);
    text("Result", status.result);
    text("ErrorName", status.error_name);
    text("ErrorMessage", status.error_message);
    number("Owner", status.owner);
    number("Position", status.position);
    number("CreateTimestamp", status.created);
    number("StartTimestamp", status.started);
    number("FinishTimestamp", status.finished);
    number("StartTimestampMonotonic", status.started_monotonic);
    number("FinishTimestampMonotonic", status.finished_monotonic);
    if (const auto value = properties.real("Fraction"); value && std::isfinite(*value))
        status.fraction = std::clamp(*value, 0.0, 1.0);
    if (const auto value = properties.pair("Bytes")) std::tie(status.bytes_done, status.bytes_total) = *value;
    if (const auto value = properties.pair("Steps")) std::tie(status.steps_done, status.steps_total) = *value;
    text("Unit", status.unit);
    if (const auto value = properties.pair("Layers")) {
        status.layers_done = static_cast<std::uint32_t>(value->first);
        status.layers_total = static_cast<std::uint32_t>(value->second);
    }
}

void JobMonitor::end(FollowedJob& job) {
    job.ended = true;
    job.status.state = "finished";
    // A word that is none of ours is a failure: success must be said.
    if (job.status.result != "success" && job.status.result != "cancelled") {
        if (job.status.error_message.empty()) job.status.error_message = "the job ended without saying how";
        job.status.result = "failed";
    }
    if (job.status.result == "failed" && job.status.error_name.empty())
        job.status.error_name = "org.imaged1.Error.Failed";
    if (job.status.result == "cancelled" && job.status.error_name.empty())
        job.status.error_name = "org.imaged1.Error.Cancelled";
    events_.ended(job);
}

}  // namespace imagectl
