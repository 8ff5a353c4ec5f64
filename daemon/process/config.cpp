// SPDX-License-Identifier: Apache-2.0
#include "process/config.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/error.hpp"
#include "process/ini-file.hpp"

namespace imaged {

namespace {

// Beyond this many layers at once only memory grows.
constexpr std::uint64_t max_layers_at_once = 16;
// More attempts would not help.
constexpr std::uint64_t max_retries = 100;
// Of each image; a longer list is of no use.
constexpr std::uint64_t most_kept = 1000;
constexpr std::uint64_t most_queued = 10'000;
// No compression reaches it.
constexpr std::uint64_t max_expansion_ratio = 1'000'000;
// Bytes a second; with less, no image comes before its skopeo is ended.
constexpr std::uint64_t least_rate = 1024;
constexpr std::uint64_t max_seconds = 365ULL * 24 * 3600;
constexpr std::string_view environment_name_characters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

[[noreturn]] void refuse_setting(const std::string& why) {
    throw Error(ErrorKind::invalid_argument, why);
}

// The number in front of TEXT, which is cut off it.
std::optional<std::uint64_t> take_number(std::string_view& text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

std::uint64_t number_in(std::string_view text, std::uint64_t least, std::uint64_t most) {
    auto rest = text;
    const auto number = take_number(rest);
    if (!number || !rest.empty() || *number < least || *number > most) {
        refuse_setting("must be a whole number from " + std::to_string(least) + " to " + std::to_string(most) +
                       ", not \"" + std::string(text) + "\"");
    }
    return *number;
}

template <std::size_t Count>
std::uint64_t with_unit(std::string_view text,
                        const std::array<std::pair<std::string_view, std::uint64_t>, Count>& units, std::uint64_t most,
                        const std::string& what) {
    auto rest = text;
    if (const auto number = take_number(rest)) {
        for (const auto& [unit, factor] : units) {
            if (rest == unit && *number <= most / factor) return *number * factor;
        }
    }
    refuse_setting("must be " + what + ", not \"" + std::string(text) + "\"");
}

std::chrono::seconds time_span(std::string_view text) {
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> units{
        {{"", 1}, {"s", 1}, {"sec", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}}};
    return std::chrono::seconds(
        with_unit(text, units, max_seconds, "a time such as 90, 90s, 5min, 2h or 1d, at most a year"));
}

std::chrono::milliseconds stall_time(std::string_view text) {
    const auto span = time_span(text);
    if (span.count() == 0) refuse_setting("must be at least one second");
    return span;
}

std::uint64_t byte_count(std::string_view text) {
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 5> units{
        {{"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30}, {"T", 1ULL << 40}}};
    return with_unit(text, units, std::numeric_limits<std::int64_t>::max(), "a size such as 4096, 512M or 2G");
}

std::uint64_t some_bytes(std::string_view text) {
    const auto bytes = byte_count(text);
    if (bytes == 0) refuse_setting("must be more than nothing");
    return bytes;
}

std::optional<std::uint64_t> byte_rate(std::string_view text) {
    const auto bytes = byte_count(text);
    if (bytes == 0) return {};
    if (bytes < least_rate) refuse_setting("must be 0, for no limit, or at least 1K");
    return bytes;
}

std::string absolute_path(const std::string& text) {
    if (!text.starts_with('/')) refuse_setting("must be an absolute path, not \"" + text + "\"");
    auto path = std::filesystem::path(text).lexically_normal().string();
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    // What could not be written in a file such as this.
    if (std::string_view(" \t\r\\").find(path.back()) != std::string_view::npos)
        refuse_setting("must not end with a blank or a backslash");
    return path;
}

job::SignaturePolicy signature_policy(const std::string& text) {
    if (const auto policy = names_of(job::SignaturePolicy()).value(text)) return *policy;
    refuse_setting("must be containers-policy, signature or signature-by-default, not \"" + text + "\"");
}

void add_names(std::vector<std::string>& names, const std::string& text) {
    std::istringstream words(text);
    for (std::string word; words >> word;) names.push_back(variable_name(word));
}

// One key: how its value gets into a Config and how it is written. An empty value is the default again.
struct Key {
    const char* section;
    const char* name;
    void (*set)(Config& config, const std::string& value);
    void (*reset)(Config& config);
    std::string (*text)(const Config& config);
};

const std::array keys{
    Key{"Repository", "Path", [](Config& c, const std::string& v) { c.repository = absolute_path(v); },
        [](Config& c) { c.repository = Config().repository; }, [](const Config& c) { return c.repository; }},
    Key{"Repository", "Sysroot", [](Config& c, const std::string& v) { c.sysroot = absolute_path(v); },
        [](Config& c) { c.sysroot = Config().sysroot; }, [](const Config& c) { return c.sysroot; }},
    Key{"Repository", "Keep",
        [](Config& c, const std::string& v) { c.jobs.keep = static_cast<unsigned>(number_in(v, 0, most_kept)); },
        [](Config& c) { c.jobs.keep = Config().jobs.keep; },
        [](const Config& c) { return std::to_string(c.jobs.keep); }},
    Key{"Daemon", "IdleSec", [](Config& c, const std::string& v) { c.idle_timeout = time_span(v); },
        [](Config& c) { c.idle_timeout = Config().idle_timeout; },
        [](const Config& c) { return std::to_string(c.idle_timeout.count()); }},
    Key{"Daemon", "LogLevel", [](Config& c, const std::string& v) { c.log_level = known_log_level(v); },
        [](Config& c) { c.log_level = Config().log_level; }, [](const Config& c) { return c.log_level; }},
    Key{"Daemon", "PassEnvironment", [](Config& c, const std::string& v) { add_names(c.pass_environment, v); },
        [](Config& c) { c.pass_environment.clear(); },
        [](const Config& c) {
            std::string text;
            for (const auto& name : c.pass_environment) text += (text.empty() ? "" : " ") + name;
            return text;
        }},
    Key{"Daemon", "QueuedJobs", [](Config& c, const std::string& v) { c.queued_jobs = number_in(v, 1, most_queued); },
        [](Config& c) { c.queued_jobs = Config().queued_jobs; },
        [](const Config& c) { return std::to_string(c.queued_jobs); }},
    Key{"Daemon", "QueuedJobsPerUser",
        [](Config& c, const std::string& v) { c.queued_jobs_per_user = number_in(v, 1, most_queued); },
        [](Config& c) { c.queued_jobs_per_user = Config().queued_jobs_per_user; },
        [](const Config& c) { return std::to_string(c.queued_jobs_per_user); }},
    Key{"Pull", "SignaturePolicy",
        [](Config& c, const std::string& v) { c.jobs.signature_policy = signature_policy(v); },
        [](Config& c) { c.jobs.signature_policy = Config().jobs.signature_policy; },
        [](const Config& c) { return std::string(to_string(c.jobs.signature_policy)); }},
    Key{"Pull", "LayersAtOnce",
        [](Config& c, const std::string& v) {
            c.jobs.layers_at_once = static_cast<unsigned>(number_in(v, 1, max_layers_at_once));
        },
        [](Config& c) { c.jobs.layers_at_once = Config().jobs.layers_at_once; },
        [](const Config& c) { return std::to_string(c.jobs.layers_at_once); }},
    Key{"Pull", "StallSec", [](Config& c, const std::string& v) { c.jobs.stall_time = stall_time(v); },
        [](Config& c) { c.jobs.stall_time = Config().jobs.stall_time; },
        [](const Config& c) { return std::to_string(c.jobs.stall_time.count() / 1000); }},
    Key{"Pull", "Rate", [](Config& c, const std::string& v) { c.jobs.rate = byte_rate(v); },
        [](Config& c) { c.jobs.rate = Config().jobs.rate; },
        [](const Config& c) { return std::to_string(c.jobs.rate.value_or(0)); }},
    Key{"Pull", "Retries",
        [](Config& c, const std::string& v) { c.jobs.retries = static_cast<unsigned>(number_in(v, 0, max_retries)); },
        [](Config& c) { c.jobs.retries = Config().jobs.retries; },
        [](const Config& c) { return std::to_string(c.jobs.retries); }},
    Key{"Pull", "DiskReserve", [](Config& c, const std::string& v) { c.jobs.disk_reserve = byte_count(v); },
        [](Config& c) { c.jobs.disk_reserve = Config().jobs.disk_reserve; },
        [](const Config& c) { return std::to_string(c.jobs.disk_reserve); }},
    Key{"Background", "Rate", [](Config& c, const std::string& v) { c.jobs.background_rate = byte_rate(v); },
        [](Config& c) { c.jobs.background_rate = Config().jobs.background_rate; },
        [](const Config& c) { return std::to_string(c.jobs.background_rate.value_or(0)); }},
    Key{"Limits", "LayerSize", [](Config& c, const std::string& v) { c.jobs.layer_bytes = some_bytes(v); },
        [](Config& c) { c.jobs.layer_bytes = Config().jobs.layer_bytes; },
        [](const Config& c) { return std::to_string(c.jobs.layer_bytes); }},
    Key{"Limits", "ImageSize", [](Config& c, const std::string& v) { c.jobs.image_bytes = some_bytes(v); },
        [](Config& c) { c.jobs.image_bytes = Config().jobs.image_bytes; },
        [](const Config& c) { return std::to_string(c.jobs.image_bytes); }},
    Key{"Limits", "ExpansionRatio",
        [](Config& c, const std::string& v) { c.jobs.expansion_ratio = number_in(v, 1, max_expansion_ratio); },
        [](Config& c) { c.jobs.expansion_ratio = Config().jobs.expansion_ratio; },
        [](const Config& c) { return std::to_string(c.jobs.expansion_ratio); }},
};

const Key* find_key(const IniSetting& setting) {
    const auto found = std::find_if(keys.begin(), keys.end(), [&](const Key& key) {
        return setting.section == key.section && setting.key == key.name;
    });
    return found == keys.end() ? nullptr : &*found;
}

}  // namespace

std::string known_log_level(const std::string& level) {
    constexpr std::array levels{"debug", "info", "warning", "error", "off"};
    if (std::find(levels.begin(), levels.end(), std::string_view(level)) == levels.end()) {
        refuse_setting("must be debug, info, warning, error or off, not \"" + level + "\"");
    }
    return level;
}

std::string variable_name(const std::string& name) {
    if (name.empty() || name.find_first_not_of(environment_name_characters) != std::string::npos) {
        refuse_setting("takes the name of a variable, not \"" + name + "\"");
    }
    return name;
}

ReadConfig parse_config(const std::vector<ConfigFile>& files) {
    ReadConfig read;
    for (const auto& file : files) {
        for (const auto& setting : parse_ini(file.text, file.path)) {
            const auto* key = find_key(setting);
            if (key == nullptr) {
                read.warnings.push_back(setting.position.text() + ": unknown key " + setting.key + "= in section [" +
                                        setting.section + "], ignored");
                continue;
            }
            if (setting.value.empty()) {
                key->reset(read.config);
                continue;
            }
            in_context(setting.position.text() + ": " + setting.key + "=",
                       [&] { key->set(read.config, setting.value); });
        }
    }
    read.text = to_text(read.config);
    return read;
}

std::string to_text(const Config& config) {
    std::string text;
    std::string_view section;
    for (const auto& key : keys) {
        if (section != key.section) {
            text += std::string(section.empty() ? "" : "\n") + "[" + key.section + "]\n";
            section = key.section;
        }
        text += std::string(key.name) + "=" + key.text(config) + "\n";
    }
    return text;
}

}  // namespace imaged
