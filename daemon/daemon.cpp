// SPDX-License-Identifier: Apache-2.0
#include "daemon.hpp"

#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "base/error.hpp"
#include "bus/manager.hpp"
#include "bus/message-limit.hpp"
#include "bus/polkit-authority.hpp"
#include "bus/received-files.hpp"
#include "bus/user-finder.hpp"
#include "jobs/authority.hpp"
#include "process/activity.hpp"
#include "process/event-loop.hpp"
#include "process/held-config.hpp"
#include "process/sdbus-shim.hpp"
#include "reading/file-reader.hpp"

namespace imaged {

namespace {

using namespace std::chrono_literals;

constexpr const char* bus_name = "org.imaged1";
// Messages served before timers and workers get their turn.
constexpr int messages_a_turn = 64;
// How long answers and workers may take after SIGTERM, so that imaged has ended 5 s after it; a worker is killed well
// before.
constexpr auto shutdown_limit = 4500ms;
// How often a daemon whose time has come, but who is still needed, looks again.
constexpr auto busy_interval = 500ms;
// The same of one that leaves, and has calls to answer.
constexpr auto answer_interval = 10ms;

class BusSource : public EventLoop::Source {
public:
    explicit BusSource(sdbus::IConnection& connection) : connection_(connection) {}

    int descriptor() const override { return connection_.getEventLoopPollData().fd; }
    std::optional<int> second_descriptor() const override {
        return bus::second_descriptor(connection_.getEventLoopPollData());
    }

    std::pair<short, int> prepare() override {
        const auto data = connection_.getEventLoopPollData();
        was_congested_ = (data.events & POLLOUT) != 0;
        return {was_congested_ ? POLLOUT : data.events, data.getPollTimeout()};
    }

    void dispatch() override {
        // Nothing more is read while answers wait to be taken: they must not add up to what a flood asks for.
        for (int count = 0; count < messages_a_turn && serve_one(); ++count) {
            if (!was_congested_ && congested()) break;
        }
    }

    bool congested() const override { return (connection_.getEventLoopPollData().events & POLLOUT) != 0; }

    // Serves everything that has arrived.
    void drain() {
        while (serve_one()) {
        }
    }

private:
    // Whether there was anything to serve. What the library itself cannot answer, as GetMachineId if the host has no
    // /etc/machine-id, costs its caller the answer; imaged continues for all others.
    bool serve_one() {
        try {
            return bus::process(connection_);
        } catch (const sdbus::Error& error) {
            connection_.getEventLoopPollData();  // throws if the connection is closed
            if (!std::exchange(failure_logged_, true))
                spdlog::warn("a message is not answered: {}", error.getMessage());
            return true;
        }
    }

    sdbus::IConnection& connection_;
    bool was_congested_ = false, failure_logged_ = false;
};

std::unique_ptr<sdbus::IConnection> connect(const CommandLine& line) {
    try {
        if (line.bus_address) return sdbus::createSessionBusConnectionWithAddress(*line.bus_address);
        return line.session ? sdbus::createSessionBusConnection() : sdbus::createSystemBusConnection();
    } catch (const sdbus::Error& error) {
        const std::string which = line.bus_address ? "" : line.session ? "session " : "system ";
        throw Error(ErrorKind::failed, "there is no " + which + "bus to serve on: " + error.getMessage());
    }
}

void take_name(sdbus::IConnection& connection) {
    try {
        connection.requestName(bus::ServiceName{bus_name});
    } catch (const sdbus::Error& error) {
        const bool taken = error.getMessage().find(std::strerror(EEXIST)) != std::string::npos;
        throw Error(ErrorKind::failed, taken ? "another imaged serves this bus"
                                             : "the bus does not give out the name org.imaged1: " + error.getMessage());
    }
}

FileDescriptor blocked_signals() {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::sigaddset(&signals, SIGHUP);
    if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) throw_errno("block signals");
    FileDescriptor file(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!file) throw_errno("signalfd");
    return file;
}

class Daemon {
public:
    Daemon(const CommandLine& line, const ReadConfig& read)
        : line_(line),
          config_(read.config),
          config_error_(read.error),
          signals_(blocked_signals()),
          connection_(connect(line)),
          bus_(*connection_),
          users_(loop_, connect(line)) {
        static_cast<void>(connection_->getUniqueName());  // waits for the bus's first message
        received_.require_use();
        received_.start(loop_, connection_->getEventLoopPollData().fd,
                        [this](const std::string& bus_name) { return users_.find(bus_name); });
        if (line.session) {
            authority_ = std::make_unique<OwnerAuthority>(::getuid());
        } else {
            authority_ = std::make_unique<PolkitAuthority>(*connection_);
            host_ = std::make_unique<HostServices>(*connection_);
        }
        manager_ =
            std::make_unique<Manager>(*connection_, loop_, activity_, *authority_, host_.get(), manager_settings());
        limit_messages(*connection_);
        loop_.set_source(bus_);
        loop_.watch(signals_.get(), [this] { signalled(); });
        // Last: a caller that sees the name can use everything.
        take_name(*connection_);
        spdlog::info("serving {}", config_.repository);
    }

    void run() {
        look_after(config_.idle_timeout);
        loop_.run();
    }

private:
    ManagerSettings manager_settings() const {
        return {.repository = config_.repository,
                .sysroot = config_.sysroot,
                .worker = {line_.worker, config_.pass_environment, config_.jobs},
                .limits = {config_.queued_jobs, config_.queued_jobs_per_user},
                .files = {.numbers = runtime_file("job-numbers", line_.session),
                          .metrics = runtime_file("metrics", line_.session)},
                .configuration_error = config_error_};
    }

    // A configuration that cannot be read leaves everything as it was.
    void reload() {
        try {
            files_.ask({}, [this] {
                try {
                    return EventLoop::Callback([this, read = read_and_hold_config(line_)] { take(read); });
                } catch (...) {
                    return EventLoop::Callback([this, error = current_error()] { keep(error); });
                }
            });
        } catch (...) {
            keep(current_error());
        }
    }

    void keep(const Error& error) {
        config_error_ = refused_config(error);
        spdlog::error("the configuration is refused: {}", *config_error_);
        manager_->reconfigure(manager_settings());
    }

    void take(ReadConfig read) {
        try {
            for (const auto& warning : read.warnings) spdlog::warn("{}", warning);
            if (read.config.repository != config_.repository) {
                spdlog::warn("the repository is {} until imaged is started again, not {}", config_.repository,
                             read.config.repository);
                read.config.repository = config_.repository;
            }
            config_ = std::move(read.config);
            config_error_.reset();
            spdlog::set_level(spdlog::level::from_str(config_.log_level));
            manager_->reconfigure(manager_settings());
            activity_.touch();
            look_after(config_.idle_timeout);
            spdlog::info("took the new configuration");
        } catch (...) {
            keep(current_error());
        }
    }

    bool needed() const { return manager_->has_jobs() || manager_->has_job_objects() || activity_.holds() > 0; }

    // One look is planned at a time, none when imaged never leaves.
    void look_after(EventLoop::Clock::duration delay) {
        look_ = {};
        if (config_.idle_timeout > 0s) look_ = loop_.after(delay, [this] { look_whether_idle(); });
    }

    void look_whether_idle() {
        const auto left = config_.idle_timeout - activity_.quiet_for();
        if (left > 0s) {
            look_after(left);
        } else if (needed()) {
            look_after(std::min<EventLoop::Clock::duration>(config_.idle_timeout, busy_interval));
        } else {
            leave();
        }
    }

    // Once the name is released the bus sends later calls to the next imaged; what came before is still answered here.
    void leave() {
        connection_->releaseName(bus::ServiceName{bus_name});
        leave_when_answered();
    }

    void leave_when_answered() {
        bus_.drain();
        if (activity_.holds() > 0) {
            look_ = loop_.after(answer_interval, [this] { leave_when_answered(); });
            return;
        }
        if (!manager_->has_jobs()) {
            spdlog::info("leaving: nothing to do");
            loop_.stop();
            return;
        }
        // A job came at the last moment: stay, with the name if nobody else has taken it by now.
        try {
            take_name(*connection_);
        } catch (const Error& error) {
            spdlog::info("finishing the last job without the bus name: {}", error.what());
        }
        look_after(busy_interval);
    }

    void signalled() {
        struct signalfd_siginfo information {};
        if (::read(signals_.get(), &information, sizeof information) != sizeof information) return;
        if (information.ssi_signo == SIGHUP) {
            if (!shutting_down_) reload();
            return;
        }
        if (shutting_down_) {
            loop_.stop();
            return;
        }
        shutting_down_ = true;
        spdlog::info("leaving: signal {}", information.ssi_signo);
        manager_->shut_down();
        shutdown_end_ = loop_.after(shutdown_limit, [this] { loop_.stop(); });
        stop_when_done();
    }

    void stop_when_done() {
        if (!manager_->has_jobs() && activity_.holds() == 0) {
            release_name();
            bus_.drain();
            loop_.stop();
        } else {
            shutdown_look_ = loop_.after(answer_interval, [this] { stop_when_done(); });
        }
    }

    // A bus that does not answer releases the name when the connection is closed.
    void release_name() {
        connection_->setMethodCallTimeout(1s);
        try {
            connection_->releaseName(bus::ServiceName{bus_name});
        } catch (const sdbus::Error& error) {
            spdlog::warn("leaving without an answer of the bus: {}", error.getMessage());
        }
    }

    // Destroyed from the last to the first: what posts into the loop goes before it, what answers on the bus before the
    // bus.
    const CommandLine line_;
    Config config_;
    std::optional<std::string> config_error_;  // why it is not what the files say
    bool shutting_down_ = false;
    Activity activity_;
    FileDescriptor signals_;
    ReceivedFiles received_;
    std::unique_ptr<sdbus::IConnection> connection_;
    BusSource bus_;
    EventLoop loop_;
    EventLoop::Timer look_, shutdown_end_, shutdown_look_;
    UserFinder users_;
    std::unique_ptr<Authority> authority_;
    std::unique_ptr<HostServices> host_;
    std::unique_ptr<Manager> manager_;
    FileReader files_{loop_};
};

}  // namespace

int serve(const CommandLine& line, const ReadConfig& read) {
    ::signal(SIGPIPE, SIG_IGN);
    try {
        Daemon daemon(line, read);
        daemon.run();
        return 0;
    } catch (const sdbus::Error& error) {
        throw Error(ErrorKind::failed, "bus: " + error.getMessage());
    }
}

}  // namespace imaged
