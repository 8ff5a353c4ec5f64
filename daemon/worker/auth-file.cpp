// SPDX-License-Identifier: Apache-2.0
#include "auth-file.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>

#include "base/error.hpp"
#include "base/json-nesting.hpp"
#include "base/json.hpp"
#include "base/kept-file.hpp"
#include "source/skopeo/skopeo-request.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

namespace {

// "auths", a registry's name, its entry.
constexpr std::size_t max_depth = 4;
// A pipe that nobody writes to.
constexpr std::chrono::seconds patience(30);

[[noreturn]] void refuse(const std::string& why) {
    throw Error(ErrorKind::invalid_argument, "option \"authfile\": " + why);
}

// From its beginning, wherever the caller has read to; a pipe has none.
std::string read_all(int file, const Cancellation& cancellation) {
    std::string text;
    const bool is_pipe = ::lseek(file, 0, SEEK_CUR) < 0;
    std::array<char, 16 * 1024> buffer;
    for (;;) {
        if (is_pipe) wait_readable(file, cancellation, patience, "the authfile");
        const auto count = is_pipe ? ::read(file, buffer.data(), buffer.size())
                                   : ::pread(file, buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
        if (count < 0 && errno == EINTR) {
            cancellation.check();
            continue;
        }
        if (count < 0) throw_errno("read the authfile");
        if (count == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > max_skopeo_file_bytes)
            refuse("larger than " + std::to_string(max_skopeo_file_bytes) + " bytes");
    }
}

void check(const std::string& text) {
    if (nests_deeper_than(text, max_depth)) refuse("nested too deeply");
    const auto document = parse_json(text);
    if (!document.is_object()) refuse("is not a JSON object");
    for (const auto& [key, value] : document.items()) {
        if (key != "auths")
            refuse("may hold \"auths\" only, not \"" + key.substr(0, 64) + "\": imaged runs no credential helpers");
        if (!value.is_object()) refuse("\"auths\" is not an object");
        for (const auto& entry : value)
            if (!entry.is_object()) refuse("an entry of \"auths\" is not an object");
    }
}

}  // namespace

void take_auth_file(job::Request& request, const Cancellation& cancellation) {
    if (!request.auth_file) return;
    const auto file = take_kept_file(FileDescriptor(*request.auth_file));
    const auto text = read_all(file.get(), cancellation);
    check(text);
    // Open until the worker ends.
    request.auth_file = memory_file("auth.json", text).release();
}

}  // namespace imaged
