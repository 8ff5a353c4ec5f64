// SPDX-License-Identifier: Apache-2.0
// The command line: options, verbs and their help. Throws UsageError.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bus/connection.hpp"

namespace imagectl {

struct Arguments {
    // global
    Bus bus;
    std::vector<std::string> hosts;  // of --host; bus is the first one
    bool json = false, quiet = false, no_progress = false;
    // of verbs that start a job
    std::optional<std::string> digest, target, authfile;
    bool detach = false, bind = false, background = false;
    std::string progress = "auto";  // "auto", "lines", "json" or "none"
    std::optional<int> progress_fd;
    std::optional<bool> interactive;  // default: whether standard input is a terminal
    // The options that VerbHelp::own lists, by name; a flag's value is empty.
    std::map<std::string, std::string> own;
    std::vector<std::string> positional;

    bool flag(const char* name) const { return own.contains(name); }
    std::optional<std::string> text(const char* name) const;
};

// An option that one verb has for itself.
struct VerbOption {
    const char* name;
    const char* argument;  // what its value is called in the help; null for a flag
    const char* help;
};

// Name and usage of a verb; a plain table entry, see verb.hpp.
struct VerbHelp {
    const char* name;
    const char* arguments;    // "IMAGE", "[JOB]", ""
    const char* summary;      // one line
    const char* description;  // paragraphs and examples
    // job: --detach …; credentials: --authfile; store: --digest, --target
    enum Options : unsigned { none = 0, job = 1, store = 2, credentials = 4 } options;
    std::span<const VerbOption> own = {};
};

// Parses the options of VERB in WORDS (the verb itself excluded) into ARGUMENTS. True when --help was asked for.
bool parse_verb(const VerbHelp& verb, std::vector<std::string> words, Arguments& arguments);

// Parses the options in front of the verb and removes them from WORDS. Sets HELP and VERSION when they were asked for.
void parse_global(std::vector<std::string>& words, Arguments& arguments, bool& help, bool& version);

std::string verb_help(const VerbHelp& verb);
std::string global_help(const std::vector<const VerbHelp*>& verbs);

// The one positional argument of a verb that takes an image, as it was typed.
std::string image_argument(const Arguments& arguments);
// IMAGE with a transport: what names a registry or nothing of the kind is one of a registry, a short name one of
// docker.io, as podman writes it (debian:12 is docker://docker.io/library/debian:12).
std::string with_transport(const std::string& image);
// The same, and says on standard error what was taken.
std::string taken_image(const std::string& image);
// PATH, which the daemon, with another working directory, is to open.
std::string absolute_path(const std::string& path);
// IMAGE with the path of a local transport made absolute: the daemon has another working directory.
std::string absolute_image(const std::string& image);
// The path in IMAGE, an absolute_image(); empty if it has none.
std::string local_path(const std::string& image);
// The number of a job that is given as number or object path.
std::uint32_t job_argument(const std::string& word);

}  // namespace imagectl
