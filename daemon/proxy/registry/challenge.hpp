// SPDX-License-Identifier: Apache-2.0
// Parses headers of a registry's answers: the requested authentication, WWW-Authenticate (RFC 9110, 11.6.1); the range
// of a blob in the answer (14.4); and the time of the next attempt (10.2.3).
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace imaged {

struct Challenge {
    std::string scheme;                             // in small letters
    std::map<std::string, std::string> parameters;  // keys in small letters
};

// The challenges of one header; what is no challenge ends them.
std::vector<Challenge> parse_challenges(std::string_view header);

struct ContentRange {
    std::uint64_t first = 0, last = 0;  // inclusive
    std::optional<std::uint64_t> size;  // of the whole
};

// "bytes FIRST-LAST/SIZE", SIZE may be "*"; nullopt for anything else.
std::optional<ContentRange> parse_content_range(std::string_view header);
// The number, if the text consists of digits only; else nullopt.
std::optional<std::uint64_t> parse_number(std::string_view number);
// Parses Retry-After, seconds or a date: the time after NOW, at most a day. Returns nullopt for anything else.
std::optional<std::chrono::seconds> parse_retry_after(const std::string& header, std::time_t now);
// TEXT with the letters of ASCII in lower case.
std::string in_small_letters(std::string_view text);

}  // namespace imaged
