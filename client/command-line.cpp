// SPDX-License-Identifier: Apache-2.0
#include "command-line.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <sstream>
#include <string_view>

#include "base/glib.hpp"
#include "bus/bus-error.hpp"
#include "bus/exit-code.hpp"
#include "bus/remote-bus.hpp"
#include "ui/display-text.hpp"

namespace imagectl {

namespace {

constexpr std::size_t help_width = 80;
// Words after it are not options.
constexpr std::string_view separator = "--";
// Of an example, which the manual page has further in.
constexpr std::size_t example_width = 72;

// GOption writes into these; one parse, one object.
struct Raw {
    gboolean json = FALSE, session = FALSE, system = FALSE, quiet = FALSE, no_progress = FALSE, help = FALSE,
             version = FALSE, detach = FALSE, bind = FALSE, background = FALSE, interactive = FALSE,
             no_interactive = FALSE;
    char *address = nullptr, *host = nullptr, *machine = nullptr, *digest = nullptr, *target = nullptr,
         *authfile = nullptr, *progress = nullptr;
    static constexpr int no_descriptor = std::numeric_limits<int>::min();
    int progress_fd = no_descriptor;
    // One of both for each of the verb's own options; never resized once GOption knows where they are.
    struct Own {
        gboolean flag = FALSE;
        char* text = nullptr;
    };
    std::vector<Own> own;
    Raw() = default;
    Raw& operator=(Raw&&) = delete;
    ~Raw() {
        for (char* text : {address, host, machine, digest, target, authfile, progress}) g_free(text);
        for (const auto& option : own) g_free(option.text);
    }
};

using Context = std::unique_ptr<GOptionContext, imaged::Free<g_option_context_free>>;

// FILENAME and not STRING: GOption converts the latter from the locale, which fails for UTF-8 in the C locale.
Context make_context(Raw& raw, const VerbHelp* verb) {
    const std::string parameters = verb ? verb->arguments : "VERB [ARGUMENT…]";
    Context context(g_option_context_new(parameters.empty() ? nullptr : parameters.c_str()));
    g_option_context_set_help_enabled(context.get(), FALSE);
    const GOptionEntry global[] = {
        {"help", 'h', 0, G_OPTION_ARG_NONE, &raw.help, "Show this help", nullptr},
        {"json", 0, 0, G_OPTION_ARG_NONE, &raw.json, "Print results as JSON, with exact numbers", nullptr},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &raw.quiet, "No progress; pull and import print the digest alone",
         nullptr},
        {"no-progress", 0, 0, G_OPTION_ARG_NONE, &raw.no_progress, "No progress", nullptr},
        {"system", 0, 0, G_OPTION_ARG_NONE, &raw.system, "Use imaged on the system bus (default)", nullptr},
        {"session", 0, 0, G_OPTION_ARG_NONE, &raw.session, "Use imaged on the session bus", nullptr},
        {"address", 0, 0, G_OPTION_ARG_FILENAME, &raw.address,
         "Use imaged on the bus at ADDRESS (default: $IMAGED_BUS_ADDRESS, if set)", "ADDRESS"},
        {"host", 'H', 0, G_OPTION_ARG_FILENAME, &raw.host,
         "Use imaged on another machine, by ssh; several are separated by commas", "[USER@]HOST"},
        {"machine", 'M', 0, G_OPTION_ARG_FILENAME, &raw.machine, "Use imaged in a container of this machine", "NAME"},
        {},
    };
    g_option_context_add_main_entries(context.get(), global, nullptr);
    if (!verb) {
        const GOptionEntry version[] = {{"version", 0, 0, G_OPTION_ARG_NONE, &raw.version, "Show the version", nullptr},
                                        {}};
        g_option_context_add_main_entries(context.get(), version, nullptr);
        g_option_context_set_strict_posix(context.get(), TRUE);
        return context;
    }
    const GOptionEntry store[] = {
        {"digest", 0, 0, G_OPTION_ARG_FILENAME, &raw.digest, "Accept only the manifest with this digest", "DIGEST"},
        {"target", 0, 0, G_OPTION_ARG_FILENAME, &raw.target, "Store the image under this reference", "IMAGE"},
        {},
    };
    const GOptionEntry credentials[] = {
        {"authfile", 0, 0, G_OPTION_ARG_FILENAME, &raw.authfile,
         "Registry credentials, containers-auth.json(5); opened by imagectl", "PATH"},
        {},
    };
    const GOptionEntry job[] = {
        {"detach", 'd', 0, G_OPTION_ARG_NONE, &raw.detach, "Print the job's number and path, and do not wait", nullptr},
        {"bind", 0, 0, G_OPTION_ARG_NONE, &raw.bind, "Cancel the job if imagectl exits for any reason", nullptr},
        {"background", 0, 0, G_OPTION_ARG_NONE, &raw.background,
         "Yield to other work; do not start on a metered connection or on battery power", nullptr},
        {"interactive", 0, 0, G_OPTION_ARG_NONE, &raw.interactive,
         "Allow an authorisation dialogue, on a terminal by pkttyagent (default there)", nullptr},
        {"no-interactive", 0, 0, G_OPTION_ARG_NONE, &raw.no_interactive, "Never ask for authorisation", nullptr},
        {"progress", 0, 0, G_OPTION_ARG_FILENAME, &raw.progress,
         "Progress on standard error: auto (default), lines, json or none", "HOW"},
        {"progress-fd", 0, 0, G_OPTION_ARG_INT, &raw.progress_fd, "Write progress as JSON to this descriptor", "FD"},
        {},
    };
    raw.own.resize(verb->own.size());
    std::vector<GOptionEntry> own;
    for (std::size_t i = 0; i < verb->own.size(); i++) {
        const auto& [name, argument, help] = verb->own[i];
        if (argument)
            own.push_back({name, 0, 0, G_OPTION_ARG_FILENAME, &raw.own[i].text, help, argument});
        else
            own.push_back({name, 0, 0, G_OPTION_ARG_NONE, &raw.own[i].flag, help, nullptr});
    }
    own.push_back({});
    g_option_context_add_main_entries(context.get(), own.data(), nullptr);
    if (verb->options & VerbHelp::store) g_option_context_add_main_entries(context.get(), store, nullptr);
    if (verb->options & VerbHelp::credentials) g_option_context_add_main_entries(context.get(), credentials, nullptr);
    if (verb->options & VerbHelp::job) g_option_context_add_main_entries(context.get(), job, nullptr);
    return context;
}

// Parses WORDS and leaves what is no option in it.
void parse(GOptionContext* context, std::vector<std::string>& words) {
    char** vector = g_new0(char*, words.size() + 2);
    vector[0] = g_strdup("imagectl");
    for (std::size_t i = 0; i < words.size(); i++) vector[i + 1] = g_strdup(words[i].c_str());
    GError* error = nullptr;
    const bool parsed = g_option_context_parse_strv(context, &vector, &error);
    const auto separators = std::count(words.begin(), words.end(), separator);
    words.clear();
    for (char** word = vector + 1; vector[0] && *word; word++) words.emplace_back(*word);
    g_strfreev(vector);
    // GOption leaves the "--" in if what follows looks like an option. One behind a verb is the verb's.
    if (std::count(words.begin(), words.end(), separator) == separators)
        if (const auto found = std::find(words.begin(), words.end(), separator);
            found != words.end() && (found == words.begin() || !g_option_context_get_strict_posix(context)))
            words.erase(found);
    if (parsed) return;
    const std::string message = error->message;
    g_error_free(error);
    throw UsageError(message);
}

// WORDS from FIRST on, in lines of at most help_width columns that begin with INDENT spaces; the first begins with
// START.
std::string wrapped(const std::string& start, std::size_t indent, const std::string& words) {
    std::string result, line = start;
    std::istringstream stream(words);
    for (std::string word; stream >> word;) {
        const bool begins = display_width(line) <= indent;
        if (!begins && display_width(line) + 1 + display_width(word) > help_width) {
            result += line + "\n";
            line = std::string(indent, ' ') + word;
        } else {
            line += (begins ? "" : " ") + word;
        }
    }
    return result + line + "\n";
}

// LINE, a command, in lines of at most example_width columns that a shell takes as one. A quoted text is not divided.
std::string continued(const std::string& line) {
    static const std::string further = "      ";
    std::string result, rest = line;
    while (display_width(rest) > example_width) {
        std::size_t end = 0;
        bool quoted = false;
        for (std::size_t at = further.size(); at < rest.size() && at <= example_width - 2; ++at) {
            if (rest[at] == '\'') quoted = !quoted;
            if (rest[at] == ' ' && !quoted) end = at;
        }
        if (end == 0) break;
        result += rest.substr(0, end) + " \\\n";
        rest = further + rest.substr(end + 1);
    }
    return result + rest + "\n";
}

// HELP in lines of help_width columns: paragraphs and the texts of options are wrapped, tables stay. GOption's own line
// of usage goes.
std::string laid_out(const std::string& help) {
    std::string result, paragraph;
    bool in_examples = false;
    const auto end_paragraph = [&] {
        if (!paragraph.empty()) result += wrapped("", 0, paragraph);
        paragraph.clear();
    };
    std::istringstream stream(help);
    for (std::string line; std::getline(stream, line);) {
        if (!line.empty() && line[0] != ' ' && !line.ends_with(':')) {
            paragraph += line + " ";
            continue;
        }
        end_paragraph();
        if (!line.starts_with(' ')) in_examples = line == "Examples:";
        if (in_examples && line.starts_with(' ')) {
            result += continued(line);
        } else if (line.starts_with("  imagectl [OPTION") || line.starts_with("  imagectl VERB")) {
            std::getline(stream, line);  // and the empty one after it
        } else if (const auto text =
                       line.starts_with("  -") ? line.find_first_not_of(' ', line.find("  ", 2)) : std::string::npos;
                   text != std::string::npos) {
            result += wrapped(line.substr(0, text), text, line.substr(text));
        } else {
            result += line + "\n";
        }
    }
    end_paragraph();
    return result;
}

std::optional<std::string> text(const char* option, const char* value) {
    if (!value) return {};
    if (!*value) throw UsageError(std::string("--") + option + " is empty");
    if (!g_utf8_validate(value, -1, nullptr)) throw UsageError(std::string("--") + option + " is not UTF-8");
    return value;
}

void take_global(const Raw& raw, Arguments& arguments) {
    arguments.json |= raw.json != FALSE;
    arguments.quiet |= raw.quiet != FALSE;
    arguments.no_progress |= raw.no_progress != FALSE;
    if (raw.system + raw.session + (raw.address ? 1 : 0) + (raw.host ? 1 : 0) + (raw.machine ? 1 : 0) > 1)
        throw UsageError("--system, --session, --address, --host and --machine exclude each other");
    if (raw.system) arguments.bus = {Bus::Kind::system, {}};
    if (raw.session) arguments.bus = {Bus::Kind::session, {}};
    if (raw.address) arguments.bus = {Bus::Kind::address, *text("address", raw.address)};
    if (raw.machine) arguments.bus = {Bus::Kind::machine, *text("machine", raw.machine)};
    // As with GOption's own, what is said last holds.
    if (raw.system || raw.session || raw.address || raw.machine) arguments.hosts.clear();
    if (!raw.host) return;
    arguments.hosts.clear();
    std::istringstream hosts(*text("host", raw.host) + ",");
    for (std::string host; std::getline(hosts, host, ',');) {
        check_host(host);
        arguments.hosts.push_back(host);
    }
    arguments.bus = {Bus::Kind::host, arguments.hosts.front()};
}

// If ARGUMENTS name another machine: a path is one of that machine, where this one's directory means nothing.
void require_absolute_paths(const Arguments& arguments) {
    auto words = arguments.positional;
    if (arguments.target) words.push_back(*arguments.target);
    for (const auto& [name, value] : arguments.own) words.push_back(value);
    for (const auto& word : words)
        if (absolute_image(word) != word)
            throw UsageError("'" + word + "' is a path on " + arguments.bus.address + ", which has to be absolute");
}

// What one process alone can write to.
void require_one_host(const Arguments& arguments) {
    if (arguments.hosts.size() < 2) return;
    if (arguments.progress == "json" || arguments.progress_fd)
        throw UsageError("--progress json and --progress-fd are for one host");
}

// Where the path in IMAGE begins, with or without a signature source in front (ostree-unverified-image:oci:PATH).
std::optional<std::size_t> begin_of_path(const std::string& image) {
    static constexpr std::array<std::string_view, 4> transports{"oci:", "oci-archive:", "docker-archive:", "dir:"};
    for (const auto transport : transports) {
        const auto found = image.find(transport);
        if (found == std::string::npos || (found > 0 && (image[found - 1] != ':' || !image.starts_with("ostree-"))))
            continue;
        return found + transport.size();
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> Arguments::text(const char* name) const {
    const auto found = own.find(name);
    return found == own.end() ? std::nullopt : std::optional(found->second);
}

void parse_global(std::vector<std::string>& words, Arguments& arguments, bool& help, bool& version) {
    if (const char* address = std::getenv("IMAGED_BUS_ADDRESS"); address && *address)
        arguments.bus = {Bus::Kind::address, address};
    Raw raw;
    const Context context = make_context(raw, nullptr);
    parse(context.get(), words);
    take_global(raw, arguments);
    help = raw.help;
    version = raw.version;
}

bool parse_verb(const VerbHelp& verb, std::vector<std::string> words, Arguments& arguments) {
    Raw raw;
    const Context context = make_context(raw, &verb);
    parse(context.get(), words);
    take_global(raw, arguments);
    arguments.digest = text("digest", raw.digest);
    arguments.target = text("target", raw.target);
    if (raw.authfile) arguments.authfile = raw.authfile;
    for (std::size_t i = 0; i < verb.own.size(); i++) {
        const auto* name = verb.own[i].name;
        if (raw.own[i].flag) arguments.own[name];
        if (const auto value = text(name, raw.own[i].text)) arguments.own[name] = *value;
    }
    if (const auto how = text("progress", raw.progress)) {
        static constexpr std::array<std::string_view, 4> ways{"auto", "lines", "json", "none"};
        if (std::find(ways.begin(), ways.end(), *how) == ways.end())
            throw UsageError("--progress is auto, lines, json or none, not '" + *how + "'");
        arguments.progress = *how;
    }
    if (raw.progress_fd != Raw::no_descriptor) {
        if (raw.progress_fd <= 2 || ::fcntl(raw.progress_fd, F_GETFD) < 0)
            throw UsageError("--progress-fd " + std::to_string(raw.progress_fd) + " is no open descriptor above 2");
        arguments.progress_fd = raw.progress_fd;
    }
    arguments.detach = raw.detach;
    arguments.bind = raw.bind;
    arguments.background = raw.background;
    if (raw.interactive && raw.no_interactive)
        throw UsageError("--interactive and --no-interactive exclude each other");
    if (raw.interactive || raw.no_interactive) arguments.interactive = raw.interactive != FALSE;
    if (raw.detach && raw.bind)
        throw UsageError("--detach and --bind exclude each other: the job would be cancelled at once");
    for (const auto& word : words)
        if (!g_utf8_validate(word.data(), static_cast<gssize>(word.size()), nullptr))
            throw UsageError("an argument is not UTF-8");
    arguments.positional = std::move(words);
    if (arguments.bus.is_remote()) require_absolute_paths(arguments);
    require_one_host(arguments);
    return raw.help;
}

// The options as GLib lists them. VERB is null for those of all verbs.
std::string options_help(const VerbHelp* verb) {
    Raw raw;
    const Context context = make_context(raw, verb);
    const std::string text = imaged::CharPtr(g_option_context_get_help(context.get(), TRUE, nullptr)).get();
    return text.substr(text.find('\n') + 1);
}

std::string verb_help(const VerbHelp& verb) {
    const std::string arguments = verb.arguments;
    return laid_out(std::string("Usage: imagectl ") + verb.name + " [OPTION…]" + (arguments.empty() ? "" : " ") +
                    arguments + "\n\n" + verb.description + options_help(&verb) + exit_code_help());
}

std::string global_help(const std::vector<const VerbHelp*>& verbs) {
    std::string result =
        "Usage: imagectl [OPTION…] VERB [OPTION…] [ARGUMENT…]\n\n"
        "Pulls container images into the OSTree repository that imaged keeps, and shows what is there.\n"
        "An image is named TRANSPORT:NAME, for instance docker://docker.io/library/debian:12. A name without a "
        "transport means an image in a registry (quay.io/a/b is docker://quay.io/a/b); a name without a registry "
        "means an image of docker.io (debian:12).\n\nVerbs:\n";
    const auto call_of = [](const VerbHelp* verb) { return std::string(verb->name) + " " + verb->arguments; };
    std::size_t widest = 0;
    for (const VerbHelp* verb : verbs) widest = std::max(widest, display_width(call_of(verb)));
    for (const VerbHelp* verb : verbs) {
        const auto call = call_of(verb);
        result += "  " + call + std::string(widest - display_width(call) + 2, ' ') + verb->summary + "\n";
    }
    return laid_out(result +
                    "\nExamples:\n"
                    "  imagectl pull docker://quay.io/example/host:stable\n"
                    "  imagectl list\n"
                    "  imagectl show docker://quay.io/example/host:stable --json\n"
                    "  imagectl pull --help\n" +
                    options_help(nullptr) + exit_code_help());
}

std::string image_argument(const Arguments& arguments) {
    if (arguments.positional.empty()) throw UsageError("an image is missing");
    if (arguments.positional.size() > 1)
        throw UsageError("one image is wanted, but there is also '" + arguments.positional[1] + "'");
    if (arguments.positional[0].empty()) throw UsageError("the image is empty");
    return arguments.positional[0];
}

std::string with_transport(const std::string& image) {
    static constexpr std::array<std::string_view, 8> transports{
        "docker:", "registry:",           "oci:",          "oci-archive:", "docker-archive:",
        "dir:",    "containers-storage:", "docker-daemon:"};
    const auto begins = [&](std::string_view prefix) { return image.starts_with(prefix); };
    // Images of docker.io are called docker and registry, too. No host's name is so short.
    for (const std::string_view name : {"docker:", "registry:"})
        if (begins(name) && image.size() > name.size() && image.find_first_of("/:", name.size()) == std::string::npos)
            return "docker://docker.io/library/" + image;
    // A path, or the transport of something else, is for imaged to refuse.
    if (image.empty() || begins("ostree-") || begins("sha256:") || begins("/") || begins(".") ||
        image.find("://") != std::string::npos || std::any_of(transports.begin(), transports.end(), begins))
        return image;
    const auto slash = image.find('/');
    if (slash == std::string::npos) return "docker://docker.io/library/" + image;
    const auto host = image.substr(0, slash);
    const bool is_host = host.find_first_of(".:") != std::string::npos || host == "localhost";
    return (is_host ? "docker://" : "docker://docker.io/") + image;
}

std::string taken_image(const std::string& image) {
    auto taken = with_transport(image);
    if (taken != image) print_note(image + " is taken as " + taken);
    return taken;
}

std::string absolute_path(const std::string& path) {
    if (path.starts_with('/')) return path;
    std::error_code failure;
    const auto directory = std::filesystem::current_path(failure);
    if (failure) throw UsageError("'" + path + "' is relative, and the current directory: " + failure.message());
    return (directory / path).lexically_normal().string();
}

std::string absolute_image(const std::string& image) {
    const auto path = begin_of_path(image);
    // One that names no directory is for imaged to refuse.
    return path && *path < image.size() && image[*path] != ':'
               ? image.substr(0, *path) + absolute_path(image.substr(*path))
               : image;
}

std::string local_path(const std::string& image) {
    const auto begin = begin_of_path(image);
    if (!begin) return {};
    const auto path = image.substr(*begin);
    // A directory of skopeo's has no tag.
    return image.substr(0, *begin).ends_with("dir:") ? path : path.substr(0, path.find(':'));
}

std::uint32_t job_argument(const std::string& word) {
    static constexpr std::string_view prefix = "/org/imaged1/job/";
    const std::string_view digits = std::string_view(word).substr(word.starts_with(prefix) ? prefix.size() : 0);
    std::uint32_t id = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
    if (error != std::errc() || end != digits.data() + digits.size())
        throw UsageError("'" + word + "' is no job: give its number");
    return id;
}

}  // namespace imagectl
