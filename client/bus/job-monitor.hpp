// SPDX-License-Identifier: Apache-2.0
// Follows jobs over the bus: keeps the state of each, and reports when one ends or the daemon exits.
//
// Made before the call that starts a job: it listens to everything org.imaged1 says from then on, so that no signal
// between a job's birth and the answer that names it is lost; then a job's properties are read, in case it was there
// before, or is over already. Signals count only when they come from the bus connection that answered. Everything runs
// in the default main context.
#pragma once

#include <gio/gio.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bus/connection.hpp"
#include "ui/progress-layout.hpp"

namespace imagectl {

// A job that is followed; `outcome` is set once it ended.
struct FollowedJob {
    JobStatus status;
    Dictionary outcome;
    bool known = false;  // its properties have been read
    bool ended = false;
};

struct JobEvents {
    std::function<void(FollowedJob&)> changed;
    std::function<void(FollowedJob&)> ended;
    std::function<void(std::uint32_t id, const std::string& path)> appeared;
    std::function<void(const BusError&)> lost;  // the daemon or the bus left, or a job's properties cannot be read
};

// Copies the properties of org.imaged1.Job that are there, and of the right type, into STATUS.
void apply_properties(JobStatus& status, const Dictionary& properties);

class JobMonitor {
public:
    JobMonitor(const Connection& connection, JobEvents events);
    ~JobMonitor();
    JobMonitor& operator=(JobMonitor&&) = delete;

    // UNIQUE_NAME is imaged's (the sender of its first answer), JOBS those that the answer named. Signals that came
    // before are replayed.
    void start(const std::string& unique_name, const std::vector<std::pair<std::uint32_t, std::string>>& jobs);
    // Follow one more job from here on; one that is followed already is left alone.
    void follow(std::uint32_t id, const std::string& path);

private:
    struct Signal {
        std::string sender, path, interface, name;
        Variant arguments;
    };
    static void received(GDBusConnection*, const char* sender, const char* path, const char* interface,
                         const char* name, GVariant* arguments, gpointer self);
    static void owner_changed(GDBusConnection*, const char*, const char*, const char*, const char*, GVariant* arguments,
                              gpointer self);
    static void closed(GDBusConnection*, gboolean, GError*, gpointer self);
    void handle(const Signal& signal);
    void handle_job(FollowedJob& job, const Signal& signal);
    using Answered = std::function<void(FollowedJob& job, Reply* reply, const BusError* error)>;
    // CALL goes to the job at PATH; ANSWERED is called while the job is followed and has not ended.
    void ask(const std::string& path, Call call, Answered answered);
    void read_properties(const std::string& path);
    void read_outcome(const std::string& path);
    void end(FollowedJob& job);
    void lose(const std::string& message);

    const Connection& connection_;
    JobEvents events_;
    std::string daemon_;
    std::vector<Signal> early_;                // came before the daemon was known
    std::map<std::string, FollowedJob> jobs_;  // by path
    bool lost_ = false;
    guint signals_ = 0, owner_signals_ = 0;
    gulong closed_handler_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // answers may come after the end
};

}  // namespace imagectl
