// SPDX-License-Identifier: Apache-2.0
#include "registry/challenge.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>

namespace imaged {

namespace {

constexpr std::string_view blanks = " \t";
// Of a token (RFC 9110, 5.6.2).
constexpr std::string_view token_characters =
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

void skip(std::string_view& text, std::string_view characters) {
    text.remove_prefix(std::min(text.find_first_not_of(characters), text.size()));
}

std::string_view take(std::string_view& text, std::string_view characters) {
    const auto taken = text.substr(0, text.find_first_not_of(characters));
    text.remove_prefix(taken.size());
    return taken;
}

// Removes a quoted string from the front of TEXT and returns its content; nullopt if the closing quote is missing.
std::optional<std::string> take_quoted(std::string_view& text) {
    std::string value;
    for (std::size_t i = 1; i < text.size(); ++i) {
        if (text[i] == '"') {
            text.remove_prefix(i + 1);
            return value;
        }
        if (text[i] == '\\' && ++i == text.size()) break;
        value += text[i];
    }
    return std::nullopt;
}

// Takes KEY=VALUE from TEXT; leaves TEXT as it is if there is none.
bool take_parameter(std::string_view& text, Challenge& challenge) {
    auto rest = text;
    const auto key = take(rest, token_characters);
    skip(rest, blanks);
    if (key.empty() || !rest.starts_with('=')) return false;
    rest.remove_prefix(1);
    skip(rest, blanks);
    std::string value;
    if (rest.starts_with('"')) {
        auto quoted = take_quoted(rest);
        if (!quoted) return false;
        value = *std::move(quoted);
    } else {
        value = take(rest, token_characters);
    }
    challenge.parameters.emplace(in_small_letters(key), std::move(value));
    text = rest;
    return true;
}

}  // namespace

std::string in_small_letters(std::string_view text) {
    std::string small(text);
    std::transform(small.begin(), small.end(), small.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return small;
}

std::vector<Challenge> parse_challenges(std::string_view text) {
    std::vector<Challenge> challenges;
    for (;;) {
        skip(text, " \t,");
        const auto scheme = take(text, token_characters);
        if (scheme.empty()) return challenges;
        auto& challenge = challenges.emplace_back(Challenge{in_small_letters(scheme), {}});
        do {
            skip(text, " \t,");
        } while (take_parameter(text, challenge));
    }
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

std::optional<std::chrono::seconds> parse_retry_after(const std::string& text, std::time_t now) {
    // More would be no reason to wait either.
    constexpr std::uint64_t most = 86400;
    if (const auto number = parse_number(text)) return std::chrono::seconds(std::min(*number, most));
    const auto date = curl_getdate(text.c_str(), nullptr);
    if (date < 0) return std::nullopt;
    return std::chrono::seconds(date <= now ? 0 : std::min(static_cast<std::uint64_t>(date - now), most));
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
    constexpr std::string_view unit = "bytes ";
    if (in_small_letters(text.substr(0, unit.size())) != unit) return std::nullopt;
    text.remove_prefix(unit.size());
    const auto dash = text.find('-'), slash = text.find('/');
    if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return std::nullopt;
    const auto first = parse_number(text.substr(0, dash)), last = parse_number(text.substr(dash + 1, slash - dash - 1));
    const auto size = parse_number(text.substr(slash + 1));
    if (!first || !last || *last < *first || (!size && text.substr(slash + 1) != "*")) return std::nullopt;
    return ContentRange{*first, *last, size};
}

}  // namespace imaged
