// SPDX-License-Identifier: Apache-2.0
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

std::string name_of(const JobStatus& job) {
    return "job " + std::to_string(job.id) + " (" + job.kind + (subject(job).empty() ? "" : " ") + subject(job) + ")";
}

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.size() > 1) throw UsageError("watch takes at most one job");
    std::optional<std::uint32_t> selected;
    if (!arguments.positional.empty()) selected = job_argument(arguments.positional[0]);
    const Connection connection(arguments.bus);
    RunOptions run;
    run.progress = progress_style(!arguments.quiet && !arguments.no_progress);
    run.interrupt = Interrupt::leaves;
    run.until_idle = !selected;
    // Several live displays would draw over each other.
    if (!selected && run.progress == ProgressStyle::live) run.progress = ProgressStyle::lines;
    const RunResult result = run_listed_jobs(connection, selected, run);
    ExitCode code = ExitCode::ok;
    for (const auto& job : result.ended) {
        const auto title = selected ? std::string() : name_of(job.status);
        if (!selected && job.status.result == "success" && !arguments.json && !arguments.quiet)
            print_result(title + ":\n");
        if (const ExitCode end = report_end(arguments, job, title); code == ExitCode::ok) code = end;
    }
    return result.interrupted ? ExitCode::cancelled : code;
}

}  // namespace

const Verb watch_verb = {
    {"watch", "[JOB]", "Follow a job, or all jobs, to the end",
     "Follows JOB, or without an argument all jobs that wait, run or start meanwhile, until none is left. "
     "Prints their outcomes. The exit code is that of the verb that started the job; for several jobs, "
     "that of the first failure. Ctrl-C stops watching and cancels nothing.\n"
     "\n"
     "Examples:\n"
     "  imagectl watch\n"
     "  imagectl watch 3\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
