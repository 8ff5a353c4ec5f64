// SPDX-License-Identifier: Apache-2.0
// Parses the times in image documents (RFC 3339), in the same way on every host: independent of the locale, and of what
// a library accepts.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace imaged {

// TEXT as whole seconds since 1970. Returns nullopt if it is no RFC 3339 time with a date that exists, or lies before
// 1970 (the zero time of Go, 0001-01-01T00:00:00Z, says that a builder recorded none) or after 9999 (no program could
// show it).
std::optional<std::uint64_t> parse_timestamp(std::string_view text);

}  // namespace imaged
