// SPDX-License-Identifier: Apache-2.0
#include "job-run.hpp"

#include <glib-unix.h>

#include <csignal>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "ui/progress-events.hpp"

namespace imagectl {

namespace {

struct LoopDeleter {
    void operator()(GMainLoop* loop) const { g_main_loop_unref(loop); }
};

// How long imaged may take to answer after Ctrl-C, and before a message says that imagectl waits for it.
constexpr guint answer_milliseconds = 1000, silent_seconds = 5;
// How long it waits for the end of a job that it cancels because of SIGTERM or SIGHUP.
constexpr guint end_seconds = 5;

// As nohup(1) has it for SIGHUP, and a shell for SIGINT of what runs in its background.
bool is_ignored(int number) {
    struct sigaction action {};
    return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

class Run {
public:
    Run(const Connection& connection, const RunOptions& options)
        : connection_(connection),
          options_(options),
          loop_(g_main_loop_new(nullptr, FALSE)),
          monitor_(connection, {[this](FollowedJob& job) { show(job); }, [this](FollowedJob& job) { ended(job); },
                                [this](std::uint32_t id, const std::string& path) {
                                    if (options_.until_idle) follow({{id, path}});
                                },
                                [this](const BusError& error) { fail(error); }}) {
        for (const int number : {SIGINT, SIGTERM, SIGHUP})
            if (!is_ignored(number))
                sources_.push_back(g_unix_signal_add(number, number == SIGINT ? interrupted : terminated, this));
        if (options.progress == ProgressStyle::live) sources_.push_back(g_timeout_add(101, tick, this));
    }
    ~Run() {
        for (const guint source : sources_) g_source_remove(source);
    }
    Run& operator=(Run&&) = delete;

    RunResult start(Call call) {
        if (options_.progress != ProgressStyle::none && !options_.asks_here)
            sources_.push_back(g_timeout_add_seconds(silent_seconds, say_that_it_waits, this));
        connection_.call_async(std::move(call), [this](Reply* reply, const BusError* error) {
            answered_ = true;
            // The same Ctrl-C may have ended the agent that asked for a password: the caller left, and was not refused.
            if (error && interrupts_) {
                result_.interrupted = true;
                return g_main_loop_quit(loop_.get());
            }
            if (error) return fail(*error);
            guint32 id = 0;
            const char* path = nullptr;
            g_variant_get(reply->body.get(), "(u&o)", &id, &path);
            started_ = {id, path};
            if (options_.detach && !interrupts_) {
                result_.detached = started_;
                return g_main_loop_quit(loop_.get());
            }
            begin(reply->sender, {{id, path}});
            if (interrupts_) cancel();
        });
        return loop();
    }

    RunResult watch(std::optional<std::uint32_t> selected) {
        Call call;
        call.method = "ListJobs";
        connection_.call_async(std::move(call), [this, selected](Reply* reply, const BusError* error) {
            if (error) return fail(*error);
            Jobs jobs;
            for (const auto& job : listed_jobs(reply->body.get()))
                if (selected ? job.id == *selected : job.state != "finished") jobs.emplace_back(job.id, job.path);
            if (selected && jobs.empty())
                return fail(BusError("org.imaged1.Error.NotFound", "there is no job " + std::to_string(*selected)));
            begin(reply->sender, jobs);
            if (followed_ == result_.ended.size()) g_main_loop_quit(loop_.get());
        });
        return loop();
    }

private:
    using Jobs = std::vector<std::pair<std::uint32_t, std::string>>;

    RunResult loop() {
        g_main_loop_run(loop_.get());
        for (auto& [path, display] : displays_) display->finish();
        if (error_) throw BusError(*error_);
        return std::move(result_);
    }

    void begin(const std::string& daemon, const Jobs& jobs) {
        note(jobs);
        monitor_.start(daemon, jobs);
    }

    void follow(const Jobs& jobs) {
        note(jobs);
        for (const auto& [id, path] : jobs) monitor_.follow(id, path);
    }

    void note(const Jobs& jobs) {
        for (const auto& [id, path] : jobs) {
            if (displays_.contains(path)) continue;
            followed_++;
            const bool several = options_.until_idle;
            events_.emplace(path, options_.events_fd);
            displays_[path] = std::make_unique<ProgressDisplay>(
                options_.progress, several ? "job " + std::to_string(id) + ": " : std::string());
        }
    }

    void show(FollowedJob& job) {
        if (!job.known) return;
        shown_ = &job;
        displays_.at(job.status.path)->update(job.status);
        events_.at(job.status.path).update(job.status);
    }

    void ended(FollowedJob& job) {
        auto& display = *displays_.at(job.status.path);
        if (options_.progress == ProgressStyle::lines) display.update(job.status);
        display.finish();
        events_.at(job.status.path).update(job.status);
        if (shown_ == &job) shown_ = nullptr;
        result_.ended.push_back(job);
        if (result_.ended.size() == followed_) g_main_loop_quit(loop_.get());
    }

    void fail(const BusError& error) {
        if (!error_) error_ = std::make_unique<BusError>(error);
        g_main_loop_quit(loop_.get());
    }

    void cancel() {
        for (const auto& [path, display] : displays_)
            if (options_.progress != ProgressStyle::none)
                display->say("imagectl: cancelling; press Ctrl-C again to leave at once");
        Call call;
        call.path = started_.path;
        call.interface = job_interface;
        call.method = "Cancel";
        call.timeout_milliseconds = std::numeric_limits<int>::max();
        connection_.call_async(std::move(call), [this](Reply* reply, const BusError* error) {
            if (error)
                return fail(BusError(error->name(), "cannot cancel job " + std::to_string(started_.id) +
                                                        ", it goes on: " + error->what()));
            gboolean goes_on = FALSE;
            g_variant_get(reply->body.get(), "(b)", &goes_on);
            if (goes_on)
                fail(BusError("org.imaged1.Error.Cancelled",
                              "left job " + std::to_string(started_.id) + ", which goes on for other callers"));
        });
    }

    static gboolean interrupted(gpointer self) {
        auto& run = *static_cast<Run*>(self);
        run.interrupts_++;
        if (run.options_.interrupt == Interrupt::leaves || run.interrupts_ > 1) {
            run.result_.interrupted = true;
            g_main_loop_quit(run.loop_.get());
        } else if (run.answered_) {
            run.cancel();
        } else {
            run.sources_.push_back(g_timeout_add(answer_milliseconds, give_up, self));
        }
        return G_SOURCE_CONTINUE;
    }

    // For SIGTERM and SIGHUP: the sender does not ask a second time.
    static gboolean terminated(gpointer self) {
        interrupted(self);
        static_cast<Run*>(self)->sources_.push_back(g_timeout_add_seconds(end_seconds, leave, self));
        return G_SOURCE_CONTINUE;
    }

    static gboolean leave(gpointer self) {
        auto& run = *static_cast<Run*>(self);
        run.result_.interrupted = true;
        g_main_loop_quit(run.loop_.get());
        return G_SOURCE_CONTINUE;
    }

    // Without a connection, the request is withdrawn: nobody is asked for a password any more, and no job starts.
    static gboolean give_up(gpointer self) {
        auto& run = *static_cast<Run*>(self);
        if (run.answered_) return G_SOURCE_CONTINUE;
        run.result_.interrupted = true;
        g_main_loop_quit(run.loop_.get());
        return G_SOURCE_CONTINUE;
    }

    static gboolean say_that_it_waits(gpointer self) {
        auto& run = *static_cast<Run*>(self);
        if (!run.answered_ && !std::exchange(run.said_, true))
            print_note("waiting for imaged to answer; somebody may be asked for an authorisation");
        return G_SOURCE_CONTINUE;
    }

    static gboolean tick(gpointer self) {
        auto& run = *static_cast<Run*>(self);
        if (run.shown_) run.displays_.at(run.shown_->status.path)->update(run.shown_->status);
        return G_SOURCE_CONTINUE;
    }

    const Connection& connection_;
    RunOptions options_;
    std::unique_ptr<GMainLoop, LoopDeleter> loop_;
    std::map<std::string, std::unique_ptr<ProgressDisplay>> displays_;  // by path
    std::map<std::string, ProgressEvents> events_;
    std::vector<guint> sources_;
    StartedJob started_{};  // by start()
    RunResult result_;
    std::unique_ptr<BusError> error_;
    std::size_t followed_ = 0;
    FollowedJob* shown_ = nullptr;  // owned by the monitor, which forgets no job
    int interrupts_ = 0;
    bool answered_ = false, said_ = false;
    JobMonitor monitor_;
};

}  // namespace

RunResult run_new_job(const Connection& connection, Call call, const RunOptions& options) {
    Run run(connection, options);
    return run.start(std::move(call));
}

RunResult run_listed_jobs(const Connection& connection, std::optional<std::uint32_t> selected,
                          const RunOptions& options) {
    Run run(connection, options);
    return run.watch(selected);
}

std::vector<ListedJob> listed_jobs(GVariant* answer) {
    std::vector<ListedJob> jobs;
    GVariantIter* iterator = nullptr;
    g_variant_get(answer, "(a(uoss))", &iterator);
    guint32 id = 0;
    const char *path = nullptr, *kind = nullptr, *state = nullptr;
    while (g_variant_iter_next(iterator, "(u&o&s&s)", &id, &path, &kind, &state))
        jobs.push_back({id, path, kind, state});
    g_variant_iter_free(iterator);
    return jobs;
}

}  // namespace imagectl
