// SPDX-License-Identifier: Apache-2.0
#include "store/files/ref-name.hpp"

#include <glib.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "base/error.hpp"

namespace imaged {

namespace {

bool is_alphanumeric(char c) {
    return g_ascii_isalnum(c) != FALSE;
}

void append_code_point(std::string& text, std::uint32_t code_point) {
    char buffer[6];
    text.append(buffer, static_cast<std::size_t>(g_unichar_to_utf8(code_point, buffer)));
}

}  // namespace

std::string escape_for_ref(std::string_view text) {
    if (text.empty()) throw Error(ErrorKind::invalid_reference, "an empty name cannot be a ref");
    // NUL ends what g_utf8_validate() takes, so it is found here too.
    if (g_utf8_validate(text.data(), static_cast<gssize>(text.size()), nullptr) == FALSE)
        throw Error(ErrorKind::invalid_reference, "a name that is not UTF-8 text cannot be a ref");
    std::string escaped;
    char previous = '\0';
    for (const char* position = text.data(); position < text.data() + text.size();
         position = g_utf8_next_char(position)) {
        const char c = *position;
        const bool last = position + 1 == text.data() + text.size();
        const bool begins = escaped.empty() || escaped.back() == '/';
        if (is_alphanumeric(c) || (c == '-' && !begins) || (c == '/' && is_alphanumeric(previous) && !last)) {
            escaped += c;
        } else if (c == '_') {
            escaped += "__";
        } else {
            char hex[16];
            std::snprintf(hex, sizeof hex, "_%02X_", static_cast<unsigned>(g_utf8_get_char(position)));
            escaped += hex;
        }
        previous = c;
    }
    return escaped;
}

std::optional<std::string> unescape_ref(std::string_view escaped) {
    std::string text;
    for (std::size_t i = 0; i < escaped.size();) {
        const char c = escaped[i];
        if (is_alphanumeric(c) || c == '-' || c == '/') {
            text += c;
            ++i;
            continue;
        }
        if (c != '_') return std::nullopt;
        const auto end = escaped.find('_', i + 1);
        // A code point has six digits at most.
        if (end == std::string_view::npos || end - i > 7) return std::nullopt;
        if (end == i + 1) {
            text += '_';
        } else {
            std::uint32_t code_point = 0;
            for (const char digit : escaped.substr(i + 1, end - i - 1)) {
                if (g_ascii_isxdigit(digit) == FALSE) return std::nullopt;
                code_point = code_point * 16 + static_cast<std::uint32_t>(g_ascii_xdigit_value(digit));
            }
            if (code_point == 0 || g_unichar_validate(code_point) == FALSE) return std::nullopt;
            append_code_point(text, code_point);
        }
        i = end + 1;
    }
    // One name has one ref: any other spelling is not ours.
    if (text.empty() || escape_for_ref(text) != escaped) return std::nullopt;
    return text;
}

std::string layer_ref(const Digest& digest) {
    return std::string(layer_ref_prefix) + escape_for_ref(digest.text());
}

std::string derived_ref(const Digest& blob) {
    return std::string(derived_ref_directory) + "/" + escape_for_ref(blob.text());
}

std::string objects_ref(const Digest& blob) {
    return std::string(objects_ref_directory) + "/" + escape_for_ref(blob.text());
}

bool is_layer_ref(std::string_view ref) {
    return std::any_of(layer_ref_directories.begin(), layer_ref_directories.end(), [&](std::string_view directory) {
        return ref.starts_with(directory) && ref.substr(directory.size()).starts_with('/');
    });
}

std::string image_ref(const ImageReference& image) {
    return std::string(image_ref_prefix) + escape_for_ref(image.image());
}

std::string image_of_ref(const std::string& ref) {
    if (!ref.starts_with(image_ref_prefix)) return ref;
    return unescape_ref(std::string_view(ref).substr(image_ref_prefix.size())).value_or(ref);
}

}  // namespace imaged
