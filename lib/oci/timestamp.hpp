// SPDX-License-Identifier: Apache-2.0
// Times as image documents write them (RFC 3339), read the same way on every host: no locale, no library's own
// leniency.
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
