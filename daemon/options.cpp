// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstddef>
#include <string_view>

#include "base/error.hpp"
#include "bus-error.hpp"
#include "oci/digest.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

namespace {

// Registries take names of 255 bytes; paths of local images end at PATH_MAX.
constexpr std::size_t max_reference_bytes = 4096;
// Far more than any method knows.
constexpr std::size_t max_options = 64;
// As containers-auth.json(5) files go, generous.
constexpr off_t max_auth_file_bytes = 1024 * 1024;
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

std::string target_of(const std::string& key, const sdbus::Variant& variant, const ImageReference& image) {
    const auto text = text_of(key, variant);
    const auto target = in_context("option \"" + key + "\"", [&] { return ImageReference::parse(text); });
    if (target.signature_source() != SignatureSource::configured) {
        refuse(key, "must not name a signature source: " + text.substr(0, max_quoted_bytes));
    }
    // Storing an image under its own name is what happens anyway; one spelling lets equal requests join.
    return target.image() == image.image() ? std::string() : target.image();
}

FileDescriptor auth_file_of(const std::string& key, const sdbus::Variant& variant) {
    const auto borrowed = value_of<sdbus::UnixFd>(key, variant, "h");
    FileDescriptor file(::fcntl(borrowed.get(), F_DUPFD_CLOEXEC, 0));
    if (!file) refuse(key, "the descriptor cannot be taken over");
    struct stat status {};
    if (::fstat(file.get(), &status) < 0) refuse(key, "the descriptor cannot be examined");
    if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode)) refuse(key, "must be a regular file or a pipe");
    if (S_ISREG(status.st_mode) && status.st_size > max_auth_file_bytes) {
        refuse(key, "larger than " + std::to_string(max_auth_file_bytes) + " bytes");
    }
    const int flags = ::fcntl(file.get(), F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) == O_WRONLY) refuse(key, "is not open for reading");
    return file;
}

void check_count(const VariantMap& options) {
    if (options.size() > max_options) {
        throw Error(ErrorKind::invalid_argument, "more than " + std::to_string(max_options) + " options");
    }
}

}  // namespace

void check_reference_length(const std::string& image) {
    if (image.size() > max_reference_bytes) {
        throw Error(ErrorKind::invalid_reference, "image reference is longer than " +
                                                      std::to_string(max_reference_bytes) +
                                                      " bytes: " + image.substr(0, max_quoted_bytes) + "…");
    }
}

JobArguments parse_job_arguments(job::Kind kind, const std::string& image, const VariantMap& options,
                                 const std::string& repository) {
    check_reference_length(image);
    const auto reference = ImageReference::parse(image);
    check_count(options);

    JobArguments arguments;
    arguments.request.kind = kind;
    arguments.request.image = reference.canonical();
    arguments.request.repository = repository;
    const bool imports = kind != job::Kind::prepare;
    for (const auto& [key, value] : options) {
        if (key == "digest" && imports) {
            arguments.request.digest = digest_of(key, value);
        } else if (key == "target" && imports) {
            arguments.request.target = target_of(key, value, reference);
        } else if (key == "authfile") {
            arguments.auth_file = auth_file_of(key, value);
        } else if (key == "bind-to-caller") {
            arguments.bind_to_caller = value_of<bool>(key, value, "b");
        } else if (key == "interactive") {
            arguments.interactive = value_of<bool>(key, value, "b");
        } else {
            refuse(key, "unknown");
        }
    }
    if (kind == job::Kind::import && arguments.request.digest.empty()) refuse("digest", "missing");
    return arguments;
}

void refuse_all_options(const VariantMap& options) {
    check_count(options);
    if (!options.empty()) refuse(options.begin()->first, "unknown");
}

}  // namespace imaged
