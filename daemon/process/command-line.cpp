// SPDX-License-Identifier: Apache-2.0
#include "process/command-line.hpp"

#include <getopt.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "base/error.hpp"
#include "process/bus-error.hpp"

namespace imaged {

namespace {

enum Option {
    session = 1,
    bus_address,
    config,
    check_config,
    repository,
    sysroot,
    worker,
    confine,
    proxy_socket,
    idle_timeout,
    pass_environment,
    log_level,
    version,
    read_for_imaged,
    metrics,
    help
};

constexpr const char* default_repository = "/ostree/repo";

constexpr std::array<struct option, 17> long_options{
    {{"session", no_argument, nullptr, session},
     {"bus-address", required_argument, nullptr, bus_address},
     {"config", required_argument, nullptr, config},
     {"check-config", no_argument, nullptr, check_config},
     {"repository", required_argument, nullptr, repository},
     {"sysroot", required_argument, nullptr, sysroot},
     {"worker", required_argument, nullptr, worker},
     {"confine", no_argument, nullptr, confine},
     {"proxy-socket", required_argument, nullptr, proxy_socket},
     {"idle-timeout", required_argument, nullptr, idle_timeout},
     {"pass-environment", required_argument, nullptr, pass_environment},
     {"log-level", required_argument, nullptr, log_level},
     {"metrics", required_argument, nullptr, metrics},
     {"version", no_argument, nullptr, version},
     {reader_option + 2, required_argument, nullptr, read_for_imaged},  // imaged itself starts it so
     {"help", no_argument, nullptr, help},
     {nullptr, 0, nullptr, 0}}};

[[noreturn]] void refuse_argument(const std::string& what) {
    throw Error(ErrorKind::invalid_argument, what);
}

std::chrono::seconds seconds(std::string_view text) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
        refuse_argument("--idle-timeout takes whole seconds, not \"" + std::string(text) + "\"");
    }
    return std::chrono::seconds(value);
}

std::string absolute(const std::string& path, const char* name) {
    if (path.empty()) refuse_argument(std::string(name) + " takes a path");
    return std::filesystem::absolute(path).lexically_normal().string();
}

// Paths go to the worker and to callers as text.
void require_utf8(const std::string& path, const char* name) {
    if (bus_text(path) != path)
        refuse_argument(std::string(name) + " is not UTF-8: " + bus_text(path) + "; choose another path");
}

std::string user_repository() {
    if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/') {
        return std::string(data) + "/imaged/repo";
    }
    if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
        return std::string(home) + "/.local/share/imaged/repo";
    }
    refuse_argument("neither XDG_DATA_HOME nor HOME is set: name a --repository");
}

// The OSTree system that keeps its deployments in REPOSITORY, else the running one.
std::string sysroot_of(std::string_view repository) {
    if (!repository.ends_with(default_repository) || repository == default_repository) return "/";
    return std::string(repository.substr(0, repository.size() - std::string_view(default_repository).size()));
}

}  // namespace

CommandLine parse_command_line(int count, char** arguments) {
    CommandLine line;
    ::opterr = 0;
    ::optind = 1;
    for (int option = 0; (option = ::getopt_long(count, arguments, ":", long_options.data(), nullptr)) != -1;) {
        const std::string value = ::optarg != nullptr ? ::optarg : "";
        switch (option) {
            case session: line.session = true; break;
            case bus_address:
                line.bus_address = value;
                line.session = true;
                break;
            case config: line.config = absolute(value, "--config"); break;
            case check_config: line.mode = CommandLine::Mode::check_config; break;
            case repository: line.repository = absolute(value, "--repository"); break;
            case sysroot: line.sysroot = absolute(value, "--sysroot"); break;
            case worker: line.worker = absolute(value, "--worker"); break;
            case confine: line.confined = true; break;
            case proxy_socket: line.proxy_socket = absolute(value, "--proxy-socket"); break;
            case idle_timeout: line.idle_timeout = seconds(value); break;
            case pass_environment:
                line.pass_environment.push_back(in_context("--pass-environment", [&] { return variable_name(value); }));
                break;
            case log_level: line.log_level = in_context("--log-level", [&] { return known_log_level(value); }); break;
            case version: line.mode = CommandLine::Mode::version; return line;
            case metrics:
                line.mode = CommandLine::Mode::metrics;
                line.metrics = absolute(value, "--metrics");
                break;
            case read_for_imaged:
                line.mode = CommandLine::Mode::read;
                line.repository = value;
                return line;
            case help: line.mode = CommandLine::Mode::help; return line;
            case ':': refuse_argument(std::string(arguments[::optind - 1]) + " needs a value");
            default: refuse_argument(std::string("unknown option ") + arguments[::optind - 1]);
        }
    }
    if (::optind < count) refuse_argument(std::string("unexpected argument ") + arguments[::optind]);
    if (line.worker.empty()) line.worker = IMAGED_LIBEXECDIR "/imaged-worker";
    return line;
}

const char* usage() {
    return "Usage: imaged [OPTION]…\n"
           "Keeps container images in an OSTree repository, on request of D-Bus clients.\n"
           "The bus starts it when it is needed; it exits when it is idle.\n"
           "\n"
           "  --session                serve the user's own repository on the session bus\n"
           "  --bus-address ADDRESS    serve on the bus at ADDRESS, with the rules of --session\n"
           "  --config FILE            read this file and FILE.d/*.conf, not imaged.conf(5) of the system\n"
           "  --check-config           check the configuration, print the resulting settings, and exit\n"
           "  --repository DIR         the OSTree repository (default /ostree/repo;\n"
           "                           with --session $XDG_DATA_HOME/imaged/repo)\n"
           "  --sysroot DIR            the OSTree system whose deployments are listed (default: the system that\n"
           "                           the repository belongs to, else /)\n"
           "  --worker PATH            the program that runs the jobs\n"
           "  --confine                run the worker without rights that its job does not need: writing elsewhere,\n"
           "                           capabilities, system calls, and with --proxy-socket the network\n"
           "  --proxy-socket PATH      reach registries through the service behind this socket\n"
           "  --idle-timeout SECONDS   exit after this time without a call or a job (default 60; 0: never)\n"
           "  --pass-environment NAME  pass this variable to the worker; may be given several times\n"
           "  --log-level LEVEL        debug, info, warning, error or off (default info)\n"
           "  --metrics FILE           print the metrics in the file that a daemon writes, for Prometheus\n"
           "                           (/run/imaged/daemon/metrics), and exit\n"
           "  --version                print the version\n"
           "  --help                   print this\n"
           "\n"
           "Options override the configuration. SIGHUP reads the configuration again.\n";
}

ReadConfig read_config(const CommandLine& line) {
    std::vector<ConfigFile> files;
    if (line.config) {
        files = named_config_files(*line.config);
    } else if (!line.session) {
        files = system_config_files("");
    }
    return read_config(line, files);
}

ReadConfig read_config(const CommandLine& line, const std::vector<ConfigFile>& files) {
    auto read = parse_config(files);
    auto& config = read.config;
    if (line.repository) config.repository = *line.repository;
    if (config.repository.empty()) config.repository = line.session ? user_repository() : default_repository;
    if (line.sysroot) config.sysroot = *line.sysroot;
    if (config.sysroot.empty()) config.sysroot = sysroot_of(config.repository);
    if (line.idle_timeout) config.idle_timeout = *line.idle_timeout;
    if (line.log_level) config.log_level = *line.log_level;
    config.jobs.confined = line.confined;
    config.jobs.skopeo_service = line.proxy_socket;
    for (const auto& name : line.pass_environment) config.pass_environment.push_back(name);
    require_utf8(config.repository, "the path of the repository");
    require_utf8(config.sysroot, "the path of the sysroot");
    if (line.proxy_socket) require_utf8(*line.proxy_socket, "--proxy-socket");
    return read;
}

}  // namespace imaged
