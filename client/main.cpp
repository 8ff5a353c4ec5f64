// SPDX-License-Identifier: Apache-2.0
// imagectl: the command-line client of imaged. Finds the verb, runs it, turns errors into exit codes.
#include <malloc.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "bus-error.hpp"
#include "display-text.hpp"
#include "job-verb.hpp"
#include "verb.hpp"

namespace imagectl {
namespace {

constexpr const Verb* verbs[] = {&pull_verb,           &prepare_verb,  &import_verb, &copy_verb,   &export_verb,
                                 &import_archive_verb, &check_verb,    &diff_verb,   &list_verb,   &deployments_verb,
                                 &show_verb,           &manifest_verb, &config_verb, &remove_verb, &prune_verb,
                                 &verify_verb,         &jobs_verb,     &cancel_verb, &watch_verb};

ExitCode run(std::vector<std::string> words) {
    Arguments arguments;
    bool help = false, version = false;
    parse_global(words, arguments, help, version);
    if (version) {
        print_result("imagectl " IMAGED_VERSION "\n");
        return ExitCode::ok;
    }
    if (help && words.empty()) {
        std::vector<const VerbHelp*> helps;
        for (const Verb* verb : verbs) helps.push_back(&verb->help);
        print_result(global_help(helps));
        return ExitCode::ok;
    }
    if (words.empty()) throw UsageError("a verb is missing");
    for (const Verb* verb : verbs) {
        if (words[0] != verb->help.name) continue;
        words.erase(words.begin());
        if (parse_verb(verb->help, std::move(words), arguments) || help) {
            print_result(verb_help(verb->help));
            return ExitCode::ok;
        }
        return verb->run(arguments);
    }
    throw UsageError("there is no verb '" + words[0] + "'");
}

}  // namespace
}  // namespace imagectl

int main(int argc, char** argv) {
    using namespace imagectl;
    // GDBus takes answers apart in a thread of its own, whose heap would grow by a system call for every page of a long
    // list: one heap for all threads, and large steps.
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TOP_PAD, 4 * 1024 * 1024);
    // A reader that left is an error of write(2), not a death without a word.
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return static_cast<int>(run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc)));
    } catch (const UsageError& error) {
        print_error("", error.what());
        std::fputs("Try 'imagectl --help'.\n", stderr);
        return static_cast<int>(ExitCode::usage);
    } catch (const BusError& error) {
        print_error(error.name(), error.what());
        return static_cast<int>(exit_code(error.name()));
    } catch (const std::exception& error) {
        print_error("", error.what());
        return static_cast<int>(ExitCode::failed);
    }
}
