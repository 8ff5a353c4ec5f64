// SPDX-License-Identifier: Apache-2.0
// imagectl: the command-line client of imaged. Finds the verb, runs it, turns errors into exit codes.
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/bus-error.hpp"
#include "configuration-note.hpp"
#include "job-verb.hpp"
#include "several-hosts.hpp"
#include "verb.hpp"

namespace imagectl {
namespace {

// How other tools call it.
constexpr std::array<std::pair<std::string_view, std::string_view>, 19> other_names{{{"ls", "list"},
                                                                                     {"images", "list"},
                                                                                     {"rm", "remove"},
                                                                                     {"rmi", "remove"},
                                                                                     {"delete", "remove"},
                                                                                     {"inspect", "show"},
                                                                                     {"info", "show"},
                                                                                     {"fetch", "pull"},
                                                                                     {"push", "export"},
                                                                                     {"load", "import-archive"},
                                                                                     {"status", "deployments"},
                                                                                     {"gc", "prune"},
                                                                                     {"cleanup", "prune"},
                                                                                     {"update", "pull"},
                                                                                     {"upgrade", "pull"},
                                                                                     {"save", "export"},
                                                                                     {"history", "show"},
                                                                                     {"ps", "jobs"},
                                                                                     {"stop", "cancel"}}};
// Letters that may be wrong, left out, added or exchanged.
constexpr std::size_t max_typing_errors = 2;
constexpr std::size_t max_word = 64;

// How many letters have to change for LEFT to be RIGHT; two that changed places count as one.
std::size_t typing_errors(std::string_view left, std::string_view right) {
    std::vector<std::vector<std::size_t>> rows(left.size() + 1, std::vector<std::size_t>(right.size() + 1));
    for (std::size_t i = 0; i <= left.size(); ++i) {
        for (std::size_t j = 0; j <= right.size(); ++j) {
            if (i == 0 || j == 0) {
                rows[i][j] = i + j;
                continue;
            }
            const bool same = left[i - 1] == right[j - 1];
            rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (same ? 0 : 1)});
            if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1])
                rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
        }
    }
    return rows[left.size()][right.size()];
}

// The verb that WORD may stand for; empty if there is none.
std::string meant_verb(std::string_view word) {
    for (const auto& [other, name] : other_names)
        if (word == other) return std::string(name);
    std::string nearest;
    auto least = std::min(max_typing_errors, word.size() / 2) + 1;
    for (const Verb* verb : verbs) {
        const auto errors = word.size() > max_word ? least : typing_errors(word, verb->help.name);
        if (errors >= least) continue;
        least = errors;
        nearest = verb->help.name;
    }
    return nearest;
}

// What RUN returns, or the exit code of what it throws, which is reported.
int guarded(bool json, const std::function<int()>& run) {
    try {
        return run();
    } catch (const UsageError& error) {
        report_error(json, "", error.what());
        std::fprintf(stderr, "Try 'imagectl %s%s--help'.\n", error.verb().c_str(), error.verb().empty() ? "" : " ");
        return static_cast<int>(ExitCode::usage);
    } catch (const BusError& error) {
        report_error(json, error.name(), error.what());
        return static_cast<int>(exit_code(error.name()));
    } catch (const std::exception& error) {
        report_error(json, "", error.what());
        return static_cast<int>(ExitCode::failed);
    }
}

int run_verb(const Verb& verb, const Arguments& arguments) {
    try {
        const auto result = verb.run(arguments);
        tell_of_configuration(arguments.bus);
        return static_cast<int>(result);
    } catch (const UsageError& error) {
        throw UsageError(error.what(), verb.help.name);
    } catch (const BusError& error) {
        if (exit_code(error.name()) != ExitCode::no_daemon) tell_of_configuration(arguments.bus);
        throw;
    }
}

int run_everywhere(const Verb& verb, const Arguments& arguments) {
    if (arguments.hosts.size() < 2) return run_verb(verb, arguments);
    return run_on_hosts(arguments,
                        [&](const Arguments& own) { return guarded(own.json, [&] { return run_verb(verb, own); }); });
}

// Whatever is opened later must not take the place of a standard stream. Writing to one that was closed still fails.
void hold_standard_streams() {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", O_RDONLY);
}

int run(std::vector<std::string> words) {
    Arguments arguments;
    bool help = false, version = false;
    parse_global(words, arguments, help, version);
    if (version) {
        print_result("imagectl " IMAGED_VERSION "\n");
        return 0;
    }
    // "imagectl help" and "imagectl help VERB", as other tools have it.
    if (!words.empty() && words[0] == "help") {
        help = true;
        words.erase(words.begin());
        if (words.size() > 1) words.resize(1);
    }
    if (help && words.empty()) {
        std::vector<const VerbHelp*> helps;
        for (const Verb* verb : verbs) helps.push_back(&verb->help);
        print_result(global_help(helps));
        return 0;
    }
    if (words.empty()) throw UsageError("a verb is missing");
    for (const Verb* verb : verbs) {
        if (words[0] != verb->help.name) continue;
        words.erase(words.begin());
        try {
            if (parse_verb(verb->help, std::move(words), arguments) || help) {
                print_result(verb_help(verb->help));
                return 0;
            }
            return run_everywhere(*verb, arguments);
        } catch (const UsageError& error) {
            throw UsageError(error.what(), verb->help.name);
        }
    }
    const auto meant = meant_verb(words[0]);
    throw UsageError("there is no verb '" + words[0] + "'" + (meant.empty() ? "" : "; did you mean '" + meant + "'?"),
                     meant);
}

}  // namespace
}  // namespace imagectl

int main(int argc, char** argv) {
    using namespace imagectl;
    hold_standard_streams();
    // GDBus takes answers apart in a thread of its own, whose heap would grow by a system call for every page of a long
    // list: one heap for all threads, and large steps.
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TOP_PAD, 4 * 1024 * 1024);
    // Ignore SIGPIPE: report a closed pipe as a write error.
    std::signal(SIGPIPE, SIG_IGN);
    const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
    const auto end = std::find(words.begin(), words.end(), "--");
    const bool json = std::find(words.begin(), end, "--json") != end;
    return guarded(json, [&] { return run(words); });
}
