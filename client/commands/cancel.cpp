// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "job-verb.hpp"
#include "json-output.hpp"
#include "password-agent.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

ExitCode run(const Arguments& arguments) {
    if (arguments.positional.size() != 1) throw UsageError("cancel takes one job");
    const std::uint32_t id = job_argument(arguments.positional[0]);
    const auto agent = password_agent(arguments);
    const Connection connection(arguments.bus);
    Call call;
    call.interactive = allows_dialogue(arguments);
    call.method = "CancelJob";
    call.arguments = adopt(g_variant_new("(u)", id));
    call.timeout_milliseconds = std::numeric_limits<int>::max();  // somebody may be typing a password
    const Reply reply = connection.call(std::move(call));
    gboolean goes_on = FALSE;
    g_variant_get(reply.body.get(), "(b)", &goes_on);
    if (goes_on) print_note("job " + std::to_string(id) + " goes on for other callers");
    if (arguments.json) print_result(detached_json(id, "/org/imaged1/job/" + std::to_string(id)));
    return ExitCode::ok;
}

}  // namespace

const Verb cancel_verb = {
    {"cancel", "JOB", "Cancel a job",
     "Asks imaged to cancel JOB, a number as shown by imagectl jobs, and returns at once. Has no effect on "
     "a finished job. A job that other callers requested too continues for them; imagectl reports that.\n"
     "\n"
     "Examples:\n"
     "  imagectl cancel 3\n"
     "  imagectl cancel 3; imagectl watch 3\n"
     "\n",
     VerbHelp::none},
    run,
};

}  // namespace imagectl
