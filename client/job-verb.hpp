// SPDX-License-Identifier: Apache-2.0
// Code shared by the verbs that start or follow a job: options, and the report of the end.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bus/exit-code.hpp"
#include "command-line.hpp"
#include "job-run.hpp"

namespace imagectl {

// A method that starts a job, and what it is given. Options that every such verb has are added by run_job_verb().
struct JobCall {
    const char* method;
    std::vector<Variant> arguments;                             // before the options
    std::vector<std::pair<std::string, Variant>> options = {};  // those at their defaults are left out
    Object<GUnixFDList> fds = nullptr;                          // made when it is needed
    bool with_packages = false;  // of a check: what the updates bring is asked for as well

    void add(const std::string& argument) { arguments.push_back(adopt(g_variant_new_string(argument.c_str()))); }
    void set(const char* option, const std::string& value) {
        options.emplace_back(option, adopt(g_variant_new_string(value.c_str())));
    }
    // The verb's option of that name, where ARGUMENTS have it.
    void pass_flag(const char* option, const Arguments& arguments);
    void pass_text(const char* option, const Arguments& given) {
        if (const auto text = given.text(option)) set(option, *text);
    }
};

// The options of verbs that import.
inline constexpr VerbOption any_architecture = {
    "any-architecture", nullptr, "Also take a bootable image that is made for another architecture than this host's"};
inline constexpr VerbOption delta_use = {"delta", "WHEN",
                                         "Make layers by a delta where there is one (auto, the default), or never"};

// The option of verbs that print a table.
inline constexpr VerbOption no_legend = {"no-legend", nullptr, "Print no line with the titles of the columns"};

// METHOD on the one image that ARGUMENTS name, with --digest and --target.
JobCall image_call(const char* method, const Arguments& arguments);

// The same for one that imaged opens, with add_place().
JobCall source_call(const char* method, const Arguments& arguments);
// Lets imaged compare what it sees at PATH with what is there for this process; an empty PATH is none.
void add_place(JobCall& call, const Arguments& arguments, const std::string& path);

// METHOD on the stored images that ARGUMENTS name, any number of them.
JobCall images_call(const char* method, const Arguments& arguments);
// Throws UsageError where ARGUMENTS name any.
void no_arguments(const Arguments& arguments);

// PATH, opened for reading, as a descriptor that goes with CALL. WHAT it is, for the error.
Variant open_for_call(JobCall& call, const std::string& path, const std::string& what);

// Starts the job, follows it unless detached, prints its outcome; an error with OF_WHAT in front.
ExitCode run_job_verb(const Arguments& arguments, JobCall call, const std::string& of_what = {});

// Prints how JOB ended: its outcome on standard output, with CHANGES as outcome_json() has them; an error on standard
// error, with OF_WHAT in front of it.
ExitCode report_end(const Arguments& arguments, const FollowedJob& job, const std::string& of_what = {},
                    const std::map<std::string, Dictionary>& changes = {});
// Prints an error on standard error, and with JSON as a document on standard output; IMAGE is what it is about, if it
// is said.
void report_error(bool json, const std::string& name, const std::string& message, const std::string& image = {});

// What METHOD, which takes options and is given none, lists.
std::vector<Dictionary> ask_for_list(const Arguments& arguments, const char* method);

// Prints the document KEY of the image that ARGUMENTS name, which METHOD gives.
ExitCode print_document(const Arguments& arguments, const char* method, const char* key);
// TEXT, a document as it is stored, on standard output: byte for byte, but on a terminal with nothing that drives it.
void print_stored(const std::string& text);
// TEXT on standard output, escaped but for line feeds. Throws BusError when it cannot be written.
void print_result(const std::string& text);

}  // namespace imagectl
