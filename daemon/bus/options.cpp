// SPDX-License-Identifier: Apache-2.0
#include "bus/options.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "oci/digest.hpp"
#include "oci/export-destination.hpp"
#include "oci/image-reference.hpp"
#include "process/bus-error.hpp"

namespace imaged {

namespace {

// Registries take names of 255 bytes; paths of local images end at PATH_MAX.
constexpr std::size_t max_reference_bytes = 4096;
// Far more than any method knows.
constexpr std::size_t max_options = 64;
// As containers-auth.json(5) files go, generous.
constexpr std::uint64_t max_auth_file_bytes = 1024 * 1024;
// A request must fit into the worker's socket before the worker reads.
constexpr std::size_t max_request_bytes = 96 * 1024;
// How much of a foreign key or value an error message repeats.
constexpr std::size_t max_quoted_bytes = 128;

[[noreturn]] void refuse(std::string_view key, const std::string& why) {
    throw Error(ErrorKind::invalid_argument, "option \"" + std::string(key.substr(0, max_quoted_bytes)) + "\": " + why);
}

template <typename Value>
Value value_of(const std::string& key, const sdbus::Variant& variant, const char* type) {
    const std::string found = variant.peekValueType();
    if (found != type) {
        refuse(key, "wrong type \"" + found.substr(0, max_quoted_bytes) + "\", must be \"" + type + "\"");
    }
    return variant.get<Value>();
}

std::string text_of(const std::string& key, const sdbus::Variant& variant) {
    auto text = value_of<std::string>(key, variant, "s");
    if (text.empty()) refuse(key, "must not be empty");
    if (text.size() > max_reference_bytes) refuse(key, "longer than " + std::to_string(max_reference_bytes) + " bytes");
    return text;
}

std::string digest_of(const std::string& key, const sdbus::Variant& variant) {
    const auto text = text_of(key, variant);
    try {
        return Digest::parse(text).text();
    } catch (const Error& error) {
        refuse(key, error.what());
    }
}

std::string target_of(const std::string& key, const sdbus::Variant& variant) {
    const auto text = text_of(key, variant);
    const auto target = in_context("option \"" + key + "\"", [&] { return ImageReference::parse(text); });
    if (target.signature_source() != SignatureSource::configured) {
        refuse(key, "must not name a signature source: " + text.substr(0, max_quoted_bytes));
    }
    return target.image();
}

// What the kernel knows of FILE. A server of files that does not answer (FUSE, NFS) is not asked: this is the bus
// thread.
std::optional<struct statx> known_status(int file) {
    struct statx status {};
    if (::statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &status) != 0)
        return std::nullopt;
    return status;
}

FileDescriptor auth_file_of(const std::string& key, const sdbus::Variant& variant) {
    auto file = take_file("option \"" + key + "\"", value_of<sdbus::UnixFd>(key, variant, "h").get());
    const auto status = known_status(file.get());
    if (status && S_ISREG(status->stx_mode) && status->stx_size > max_auth_file_bytes) {
        refuse(key, "larger than " + std::to_string(max_auth_file_bytes) + " bytes");
    }
    return file;
}

void check_count(const VariantMap& options) {
    if (options.size() > max_options) {
        throw Error(ErrorKind::invalid_argument, "more than " + std::to_string(max_options) + " options");
    }
}

void take_flag(JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
    if (value_of<bool>(key, value, "b")) arguments.request.arguments[key] = true;
}

// One option: which kinds of job know it, and how its value is taken. A value at its default is not put into the
// request, so that equal requests are equal.
struct Rule {
    std::string_view key;
    std::initializer_list<job::Kind> kinds;
    void (*take)(JobArguments& arguments, const std::string& key, const sdbus::Variant& value);
};

using enum job::Kind;

const Rule rules[] = {
    {"digest",
     {import, pull, import_archive},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         arguments.request.arguments[key] = digest_of(key, value);
     }},
    {"target",
     {import, pull, copy, check},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         const auto target = target_of(key, value);
         // Storing an image under its own name is what happens anyway.
         if (target != ImageReference::parse(arguments.request.image).image())
             arguments.request.arguments[key] = target;
     }},
    {"name",
     {import_archive},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         arguments.request.arguments[key] = text_of(key, value);
     }},
    {"any-architecture",
     {import, pull, import_archive},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         take_flag(arguments, key, value);
     }},
    {"from",
     {copy},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         if (value_of<bool>(key, value, "b")) arguments.request.arguments[key] = true;
     }},
    {"dry-run",
     {prune},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         take_flag(arguments, key, value);
     }},
    {"foreign-commits",
     {prune},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         take_flag(arguments, key, value);
     }},
    {"repair",
     {verify},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         take_flag(arguments, key, value);
     }},
    {"source",
     {verify},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         const auto text = text_of(key, value);
         arguments.request.arguments[key] =
             in_context("option \"" + key + "\"", [&] { return ImageReference::parse(text).canonical(); });
     }},
    {"compression",
     {export_},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         const auto text = text_of(key, value);
         if (text != "gzip" && text != "zstd" && text != "none")
             refuse(key, "none of gzip, zstd and none: " + text.substr(0, max_quoted_bytes));
         if (text != "gzip") arguments.request.arguments[key] = text;
     }},
    {"authfile",
     {prepare, import, pull, verify, check, export_},
     [](JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
         arguments.files.auth = auth_file_of(key, value);
     }},
};

// Options of every method that starts a job.
bool take_common(JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
    if (key == "bind-to-caller") {
        arguments.bind_to_caller = value_of<bool>(key, value, "b");
    } else if (key == "interactive") {
        arguments.interactive = value_of<bool>(key, value, "b");
    } else {
        return false;
    }
    return true;
}

void take_option(JobArguments& arguments, const std::string& key, const sdbus::Variant& value) {
    if (take_common(arguments, key, value)) return;
    for (const auto& rule : rules) {
        const auto& kinds = rule.kinds;
        if (rule.key != key || std::find(kinds.begin(), kinds.end(), arguments.request.kind) == kinds.end()) continue;
        rule.take(arguments, key, value);
        return;
    }
    refuse(key, "unknown");
}

}  // namespace

FileDescriptor take_file(const std::string& what, int borrowed) {
    const auto refused = [&](const std::string& why) { return Error(ErrorKind::invalid_argument, what + ": " + why); };
    FileDescriptor file(::fcntl(borrowed, F_DUPFD_CLOEXEC, 0));
    if (!file) throw refused("the descriptor cannot be taken over");
    const auto status = known_status(file.get());
    if (!status) throw refused("the descriptor cannot be examined");
    if (!S_ISREG(status->stx_mode) && !S_ISFIFO(status->stx_mode)) throw refused("must be a regular file or a pipe");
    const int flags = ::fcntl(file.get(), F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) == O_WRONLY) throw refused("is not open for reading");
    return file;
}

std::string parse_path(const std::string& what, const std::string& text) {
    const auto invalid = [&](const std::string& why) {
        return Error(ErrorKind::invalid_argument, what + " " + why + ": \"" + text.substr(0, max_quoted_bytes) + "\"");
    };
    if (!text.starts_with('/')) throw invalid("is not an absolute path");
    if (text.size() > max_reference_bytes)
        throw invalid("is longer than " + std::to_string(max_reference_bytes) + " bytes");
    // One spelling lets equal requests join. Not lexically_normal(): what ".." leaves behind may be a link.
    std::string path;
    for (std::size_t begin = 1; begin <= text.size();) {
        const auto end = std::min(text.find('/', begin), text.size());
        const auto name = text.substr(begin, end - begin);
        if (!name.empty() && name != ".") path += "/" + name;
        begin = end + 1;
    }
    return path.empty() ? "/" : path;
}

ImageReference parse_destination(const std::string& text) {
    auto destination = parse_reference(text);
    check_export_destination(destination);
    return destination;
}

ImageReference parse_reference(const std::string& text) {
    return ImageReference::parse(text);
}

JobArguments parse_job_arguments(job::Kind kind, JobSubject subject, const VariantMap& options,
                                 const std::string& repository) {
    check_count(options);
    JobArguments arguments;
    arguments.request.kind = kind;
    if (subject.image) arguments.request.image = subject.image->canonical();
    arguments.request.repository = repository;
    arguments.request.arguments = std::move(subject.arguments);
    arguments.files.input = std::move(subject.input);
    arguments.opens_path = subject.opens_path;
    for (const auto& [key, value] : options) take_option(arguments, key, value);
    if (kind == import && !arguments.request.arguments.contains("digest")) refuse("digest", "missing");
    if (arguments.request.arguments.contains("source") && !arguments.request.flag("repair"))
        refuse("source", "only a repair needs one");
    if (arguments.request.image.size() + arguments.request.arguments.dump().size() > max_request_bytes)
        throw Error(ErrorKind::invalid_argument,
                    "the arguments are longer than " + std::to_string(max_request_bytes) + " bytes in all");
    return arguments;
}

JobArguments parse_job_arguments(job::Kind kind, const std::string& image, const VariantMap& options,
                                 const std::string& repository) {
    return parse_job_arguments(kind, JobSubject{parse_reference(image), nlohmann::json::object(), {}}, options,
                               repository);
}

JobSubject image_list(const std::vector<std::string>& images, bool may_be_empty) {
    if (images.empty() && !may_be_empty) throw Error(ErrorKind::invalid_argument, "no image is named");
    JobSubject subject;
    auto list = nlohmann::json::array();
    std::set<std::string> seen;
    for (const auto& image : images) {
        const auto name = parse_reference(image).image();
        if (seen.insert(name).second) list.push_back(name);
    }
    if (!list.empty()) subject.arguments["images"] = std::move(list);
    return subject;
}

bool parse_flag(const std::string& key, const VariantMap& options) {
    check_count(options);
    for (const auto& [name, value] : options) {
        if (name != key) refuse(name, "unknown");
    }
    const auto found = options.find(key);
    return found != options.end() && value_of<bool>(key, found->second, "b");
}

void refuse_all_options(const VariantMap& options) {
    check_count(options);
    if (!options.empty()) refuse(options.begin()->first, "unknown");
}

}  // namespace imaged
