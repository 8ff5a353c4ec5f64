// SPDX-License-Identifier: Apache-2.0
#include <pwd.h>

#include <algorithm>

#include "job-run.hpp"
#include "job-verb.hpp"
#include "json-output.hpp"
#include "ui/display-text.hpp"
#include "ui/table.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

JobStatus read_job(const Connection& connection, const ListedJob& listed) {
    JobStatus status;
    status.id = listed.id;
    status.path = listed.path;
    status.kind = listed.kind;
    status.state = listed.state;
    Call call;
    call.path = listed.path;
    call.interface = "org.freedesktop.DBus.Properties";
    call.method = "GetAll";
    call.arguments = adopt(g_variant_new("(s)", job_interface));
    try {
        const Reply reply = connection.call(std::move(call));
        apply_properties(status, Dictionary(Variant(g_variant_get_child_value(reply.body.get(), 0))));
    } catch (const BusError& error) {
        // It may have gone since; what ListJobs said of it is still true.
        if (exit_code(error.name()) == ExitCode::no_daemon) throw;
    }
    return status;
}

// The name of the user, if this host knows it.
std::string user_name(std::uint32_t uid) {
    const auto* const user = ::getpwuid(uid);
    return user == nullptr ? std::to_string(uid) : user->pw_name;
}

// How long JOB has run; "-" before it does.
std::string run_time(const JobStatus& job) {
    if (job.started_monotonic == 0) return "-";
    const auto end =
        job.finished_monotonic != 0 ? job.finished_monotonic : static_cast<std::uint64_t>(g_get_monotonic_time());
    return human_duration(static_cast<double>(end - std::min(end, job.started_monotonic)) / 1e6);
}

constexpr VerbOption options[] = {no_legend};

ExitCode run(const Arguments& arguments) {
    no_arguments(arguments);
    const Connection connection(arguments.bus);
    Call call;
    call.method = "ListJobs";
    const Reply reply = connection.call(std::move(call));
    std::vector<JobStatus> jobs;
    for (const auto& listed : listed_jobs(reply.body.get())) jobs.push_back(read_job(connection, listed));
    if (arguments.json) {
        print_result(jobs_json(jobs));
        return ExitCode::ok;
    }
    std::vector<std::vector<std::string>> rows;
    rows.reserve(jobs.size());
    for (const auto& job : jobs)
        rows.push_back({std::to_string(job.id), job.kind, job.result.empty() ? job.state : job.result, job.phase,
                        std::to_string(static_cast<int>(job.fraction * 100)) + "%", user_name(job.owner), run_time(job),
                        subject(job)});
    print_result(
        table({{"JOB", true}, {"KIND"}, {"STATE"}, {"PHASE"}, {"DONE", true}, {"OWNER"}, {"TIME", true}, {"IMAGE"}},
              rows, !arguments.flag(no_legend.name)));
    return ExitCode::ok;
}

}  // namespace

const Verb jobs_verb = {
    {"jobs", "", "List the jobs",
     "Lists the jobs that wait, run, or ended within the last minute, oldest first. TIME is the running "
     "time.\n"
     "\n"
     "Examples:\n"
     "  imagectl jobs\n"
     "  imagectl jobs --json\n"
     "\n",
     VerbHelp::none, options},
    run,
};

}  // namespace imagectl
