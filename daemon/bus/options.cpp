// SPDX-License-Identifier: Apache-2.0
#include "bus/options.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/kept-file.hpp"
#include "job/fields.hpp"
#include "oci/export-destination.hpp"

namespace imaged {

namespace {

// Paths end at PATH_MAX. A reference is at most a quarter of this long (image-reference.cpp).
constexpr std::size_t max_text_bytes = 4096;
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
    if (text.size() > max_text_bytes) refuse(key, "longer than " + std::to_string(max_text_bytes) + " bytes");
    return text;
}

FileDescriptor auth_file_of(const std::string& key, const sdbus::Variant& variant) {
    auto file = take_file("option \"" + key + "\"", value_of<sdbus::UnixFd>(key, variant, "h").get());
    const auto facts = facts_of("option \"" + key + "\"", file.get());
    if (S_ISREG(facts.mode) && facts.size > max_auth_file_bytes) {
        refuse(key, "larger than " + std::to_string(max_auth_file_bytes) + " bytes");
    }
    return file;
}

void check_count(const VariantMap& options) {
    if (options.size() > max_options) {
        throw Error(ErrorKind::invalid_argument, "more than " + std::to_string(max_options) + " options");
    }
}

// Takes the options that the members of a kind of work are listed as.
class OptionReader : public job::FieldVisitor<OptionReader> {
public:
    explicit OptionReader(const VariantMap& options) : options_(options) {}

    // What the method itself is given.
    template <typename Value>
    void operator()(const char*, Value&) {}

    template <typename Value>
    void option(const char* key, Value& value) {
        if (const auto* given = take(key)) read(key, *given, value);
    }

    // The value of KEY, null if it is absent.
    const sdbus::Variant* take(const char* key) {
        const auto found = options_.find(key);
        if (found == options_.end()) return nullptr;
        taken_.insert(found->first);
        return &found->second;
    }

    void refuse_the_rest() const {
        for (const auto& [key, value] : options_)
            if (!taken_.contains(key)) refuse(key, "unknown");
    }

private:
    static void read(const std::string& key, const sdbus::Variant& given, bool& value) {
        value = value_of<bool>(key, given, "b");
    }
    static void read(const std::string& key, const sdbus::Variant& given, std::optional<std::string>& value) {
        value = text_of(key, given);
    }
    static void read(const std::string& key, const sdbus::Variant& given, std::optional<Digest>& value) {
        const auto text = text_of(key, given);
        try {
            value = Digest::parse(text);
        } catch (const Error& error) {
            refuse(key, error.what());
        }
    }
    static void read(const std::string& key, const sdbus::Variant& given, std::optional<ImageReference>& value) {
        const auto text = text_of(key, given);
        value = in_context("option \"" + key + "\"", [&] { return ImageReference::parse(text); });
    }
    template <Named Enum>
    static void read(const std::string& key, const sdbus::Variant& given, Enum& value) {
        const auto text = text_of(key, given);
        std::string names;
        for (const auto& [candidate, name] : names_of(value).table) {
            if (name == text) return void(value = candidate);
            names += (names.empty() ? "" : ", ") + std::string(name);
        }
        refuse(key, "none of " + names + ": " + text.substr(0, max_quoted_bytes));
    }

    const VariantMap& options_;
    std::set<std::string> taken_;
};

// The path in IMAGE, if it has one.
std::optional<std::string> path_of(const ImageReference& image) {
    switch (image.transport()) {
        // A directory of skopeo's has no tag.
        case Transport::dir: return image.name();
        case Transport::oci:
        case Transport::oci_archive:
        case Transport::docker_archive: return split_tag(image.name()).first;
        case Transport::registry:
        case Transport::containers_storage:
        case Transport::docker_daemon: break;
    }
    return std::nullopt;
}

// The path that WORK's job opens besides imaged's repository, if it opens one.
template <typename Work>
std::optional<std::string> opened_path([[maybe_unused]] const Work& work) {
    if constexpr (requires { work.repository; }) return work.repository;
    if constexpr (requires { work.destination; }) return path_of(work.destination);
    if constexpr (requires { work.source; }) return work.source ? path_of(*work.source) : std::nullopt;
    if constexpr (requires { work.image; }) return path_of(work.image);
    return std::nullopt;
}

template <typename Work>
CallerPlace place_of(const Work& work, const sdbus::Variant& given) {
    const auto path = opened_path(work);
    if (!path) refuse("place", "nothing is opened by a path");
    return caller_place("option \"place\"", *path, value_of<sdbus::UnixFd>("place", given, "h").get());
}

// A relative path would be imaged's, not the caller's.
template <typename Work>
void check_path(const Work& work) {
    if constexpr (!Work::traits.takes_place && !Work::traits.reads_image) return;
    if (const auto path = opened_path(work); path && !path->starts_with('/'))
        throw Error(ErrorKind::invalid_argument,
                    "\"" + path->substr(0, max_quoted_bytes) + "\" is not an absolute path");
}

// Refuses a name that no registry accepts, before polkit is asked or a job starts.
template <typename Work>
void check_registry_names(const Work& work) {
    if constexpr (Work::traits.reads_image || Work::traits.stores_image) work.image.require_registry_name();
    // The target of Check is stored already, perhaps by another program; that of Prepare may be.
    if constexpr (requires { work.target; } && !Work::traits.only_reads)
        if (work.target) work.target->require_registry_name();
    if constexpr (requires { work.destination; }) work.destination.require_registry_name();
    if constexpr (requires { work.source; })
        if (work.source) work.source->require_registry_name();
}

// What the type of an option does not say.
template <typename Work>
void check_options(Work& work) {
    if constexpr (requires { work.target; }) {
        if (work.target && work.target->signature_source() != SignatureSource::configured)
            refuse("target",
                   "must not name a signature source: " + work.target->canonical().substr(0, max_quoted_bytes));
        // Storing an image under its own name is what happens anyway.
        if (work.target && work.target->image() == work.image.image()) work.target.reset();
    }
    if constexpr (std::same_as<Work, job::Rollback>) {
        if (work.version && !begins_digest(*work.version))
            refuse("digest",
                   "neither a digest nor the beginning of one: \"" + work.version->substr(0, max_quoted_bytes) + "\"");
    }
    if constexpr (std::same_as<Work, job::Import>) {
        if (!work.digest) refuse("digest", "missing");
    }
    if constexpr (std::same_as<Work, job::Export>) {
        if (work.compatible && !work.delta_from) refuse("compatible", "only a delta (delta-from) can be");
        if (!work.delta_from) return;
        if (work.delta_from->signature_source() != SignatureSource::configured)
            refuse("delta-from",
                   "must not name a signature source: " + work.delta_from->canonical().substr(0, max_quoted_bytes));
        if (work.compression != job::LayerCompression::gzip) refuse("compression", "a delta has its own");
        check_delta_destination(work.destination);
        work.image.require_registry_name();
    }
    if constexpr (std::same_as<Work, job::Verify>) {
        if (work.source && !work.repair) refuse("source", "only a repair needs one");
    }
}

}  // namespace

FileDescriptor take_file(const std::string& what, int borrowed) {
    const auto refused = [&](const std::string& why) { return Error(ErrorKind::invalid_argument, what + ": " + why); };
    const auto facts = facts_of(what, borrowed);
    if (!S_ISREG(facts.mode) && !S_ISFIFO(facts.mode)) throw refused("must be a regular file or a pipe");
    if ((facts.flags & O_PATH) != 0 || (facts.flags & O_ACCMODE) == O_WRONLY) throw refused("is not open for reading");
    FileDescriptor file(::fcntl(borrowed, F_DUPFD_CLOEXEC, 0));
    if (!file) throw refused("the descriptor cannot be taken over");
    return file;
}

std::string parse_path(const std::string& what, const std::string& text) {
    const auto invalid = [&](const std::string& why) {
        return Error(ErrorKind::invalid_argument, what + " " + why + ": \"" + text.substr(0, max_quoted_bytes) + "\"");
    };
    if (!text.starts_with('/')) throw invalid("is not an absolute path");
    if (text.size() > max_text_bytes) throw invalid("is longer than " + std::to_string(max_text_bytes) + " bytes");
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
    auto destination = ImageReference::parse(text);
    check_export_destination(destination);
    return destination;
}

JobArguments parse_job_arguments(job::Work work, const VariantMap& options, const std::string& repository) {
    check_count(options);
    JobArguments arguments;
    OptionReader reader(options);
    std::visit(
        [&](auto& kind) {
            kind.fields(kind, reader);
            check_options(kind);
            check_path(kind);
            check_registry_names(kind);
            if (const auto* given = kind.traits.takes_authfile ? reader.take("authfile") : nullptr)
                arguments.files.auth = auth_file_of("authfile", *given);
            if (const auto* given = kind.traits.takes_place ? reader.take("place") : nullptr)
                arguments.place = place_of(kind, *given);
        },
        work);
    if (const auto* given = reader.take("bind-to-caller"))
        arguments.bind_to_caller = value_of<bool>("bind-to-caller", *given, "b");
    if (const auto* given = reader.take("interactive"))
        arguments.interactive = value_of<bool>("interactive", *given, "b");
    bool background = false;
    if (const auto* given = reader.take("background")) background = value_of<bool>("background", *given, "b");
    reader.refuse_the_rest();
    arguments.request = {.work = std::move(work), .repository = repository, .background = background};
    arguments.bytes = job::encode(arguments.request).size();
    if (arguments.bytes > max_request_bytes)
        throw Error(ErrorKind::invalid_argument,
                    "the arguments are longer than " + std::to_string(max_request_bytes) + " bytes in all");
    return arguments;
}

std::vector<ImageReference> image_list(const std::vector<std::string>& images, bool may_be_empty) {
    if (images.empty() && !may_be_empty) throw Error(ErrorKind::invalid_argument, "no image is named");
    std::vector<ImageReference> list;
    std::set<std::string> seen;
    for (const auto& image : images) {
        auto name = ImageReference::parse(image).with(SignatureSource::configured);
        if (seen.insert(name.image()).second) list.push_back(std::move(name));
    }
    return list;
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
