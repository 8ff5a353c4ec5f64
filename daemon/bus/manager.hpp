// SPDX-License-Identifier: Apache-2.0
// /org/imaged1 on the bus: org.imaged1.Manager and the ObjectManager of the jobs. Bus thread only.
//
// A method that starts a job checks its arguments, finds the caller's user, asks the authority, and only then makes the
// job. Reading methods are answered by the catalog reader's thread, and the containers policy is read by another.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/caller-table.hpp"
#include "bus/job-methods.hpp"
#include "bus/job-table.hpp"
#include "bus/reply.hpp"
#include "jobs/authority.hpp"
#include "process/activity.hpp"
#include "process/host-conditions.hpp"
#include "process/sleep-inhibitor.hpp"
#include "reading/catalog-reader.hpp"

namespace imaged {

struct ManagerSettings {
    std::string repository;  // absolute path
    std::string sysroot;     // likewise, of the system whose deployments are listed
    WorkerSettings worker;
    JobQueue::Limits limits;
    JobTable::Files files;
    std::optional<std::string> configuration_error;  // why the configuration is not what its files say
};

// The services of the host that jobs use.
struct HostServices {
    // CONNECTION, of the system's bus, outlives the object.
    explicit HostServices(sdbus::IConnection& connection) : inhibitor(connection), conditions(connection) {}

    SleepInhibitor inhibitor;
    HostConditions conditions;
};

class Manager final : public JobMethods {
public:
    // Everything handed in outlives the manager. HOST is null if no service of the host is asked.
    Manager(sdbus::IConnection& connection, EventLoop& loop, Activity& activity, Authority& authority,
            HostServices* host, ManagerSettings settings);
    ~Manager() {
        ignoring_errors([this] { unregisterAdaptor(); });
    }
    Manager& operator=(Manager&&) = delete;

    // Whether any job waits or runs.
    bool has_jobs() { return !jobs_.queue().empty(); }
    // Whether there are job objects that a client may still read.
    bool has_job_objects() const { return !jobs_.objects().empty(); }
    // Takes all of SETTINGS but the repository, for calls and jobs that start later.
    void reconfigure(const ManagerSettings& settings);
    // Ends all jobs and refuses new ones.
    void shut_down();

private:
    using Started = Reply<std::uint32_t, sdbus::ObjectPath>;

    void ListImages(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) override;
    void DescribeImages(sdbus::Result<std::string>&& result, VariantMap options) override;
    void ListDeployments(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) override;
    void GetImage(sdbus::Result<VariantMap>&& result, std::string image) override;
    void GetManifest(sdbus::Result<std::string>&& result, std::string image) override;
    void GetConfig(sdbus::Result<std::string>&& result, std::string image) override;
    void Diff(sdbus::Result<VariantMap>&& result, std::string from, std::string to, VariantMap options) override;
    std::vector<sdbus::Struct<std::uint32_t, sdbus::ObjectPath, std::string, std::string>> ListJobs() override;
    void CancelJob(sdbus::Result<bool>&& result, std::uint32_t id) override;
    std::string Version() override;
    std::string RepositoryPath() override;
    std::string RepositoryMode() override;
    std::uint32_t UpdatesAvailable() override;
    std::vector<std::string> Features() override;
    std::string ConfigurationError() override;

    void job_ended(JobId id, const std::string& result);
    void start(StartedJob&& result, job::Work work, const VariantMap& options, FileDescriptor input) override;
    void submit_as_owner(const std::shared_ptr<JobArguments>& arguments, const Started& reply, const Caller& caller);
    void submit(const Started& reply, const Caller& caller, JobArguments& arguments, Standing standing);
    void cancel(JobId id, const std::string& sender, bool interactive, sdbus::Result<bool>&& result);
    void answer_outcome(JobId id, const std::string& sender, JobObject::OutcomeResult&& result);
    void ask(std::vector<std::string_view> actions, const std::shared_ptr<JobArguments>& arguments,
             const Started& reply, const Caller& caller);
    void ask(std::vector<std::string_view> actions, Question question, const std::shared_ptr<JobArguments>& arguments,
             const Started& reply);
    // Throws Error(not_authorized) where the job of ARGUMENTS would open a local path for CALLER.
    void require_no_path(const Caller& caller, const JobArguments& arguments) const;
    void cancel_as(const Reply<bool>& reply, JobId id, const Caller& caller, bool interactive);
    // Identifies SENDER; a caller that has left gets no answer. FUNCTION holds about BYTES.
    template <typename... Values>
    void with_caller(const std::string& sender, const Reply<Values...>& reply,
                     std::function<void(const Caller&)> function, std::size_t bytes = 0);
    // Returns at once; LISTED is called with the names of all stored images when they have been read.
    void name_images(JobTable::Listed listed);
    // Has TASK answer REPLY on the reader's thread, in its caller's turn.
    template <typename... Values>
    void ask_catalog(const Reply<Values...>& reply, CatalogReader::Task task);
    // Answers with what READ makes of the catalog, on the reader's thread, and ANSWER of that, on this one.
    template <typename Value>
    void read(sdbus::Result<Value>&& result, const std::string& image,
              std::function<Value(RemoteCatalog&, const ImageReference&)> function);

    // The images as dictionaries, if somebody asked for those: made once for as long as nothing changes. The catalog
    // reader's thread's own.
    struct Listing {
        std::uint64_t number = 0;  // of the document
        std::shared_ptr<const std::vector<VariantMap>> maps;
    };
    // Answers RESULT with what MAKE makes of the catalog; where there is none, it is null.
    template <typename Form>
    void list_images(sdbus::Result<Form>&& result, const VariantMap& options,
                     std::shared_ptr<const Form> (*make)(Listing& listing, RemoteCatalog* catalog));

    const std::shared_ptr<Listing> listing_ = std::make_shared<Listing>();
    Activity& activity_;
    Authority& authority_;
    ManagerSettings settings_;
    bool shutting_down_ = false;
    JobTable jobs_;
    CallerTable callers_;
    CatalogReader catalog_;
    FileReader files_;  // of the containers policy
};

template <typename... Values>
void Manager::with_caller(const std::string& sender, const Reply<Values...>& reply,
                          std::function<void(const Caller&)> function, std::size_t bytes) {
    reply.answer_with([&] {
        callers_.identify(sender, bytes, [reply, function = std::move(function)](const std::optional<Caller>& caller) {
            reply.answer_with([&] {
                if (!caller) throw Error(ErrorKind::not_authorized, "the bus does not say who is calling");
                function(*caller);
            });
        });
    });
}

}  // namespace imaged
