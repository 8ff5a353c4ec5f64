// SPDX-License-Identifier: Apache-2.0
// Parses the document of org.imaged1.Manager.DescribeImages without trusting it: a missing key and one of another type
// than expected are both absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace imagectl {

class ListedImage {
public:
    using Value = std::variant<std::string, std::uint64_t>;

    const std::string* text(std::string_view key) const;  // null when absent
    std::optional<std::uint64_t> number(std::string_view key) const;

    // The versions that are kept of it (org.imaged1.Manager.ListImages); without any of their own.
    std::vector<ListedImage> kept;

    // The last one of a key counts.
    void add(std::string key, Value value);

private:
    const Value* value(std::string_view key) const;

    std::vector<std::pair<std::string, Value>> members_;
};

// Throws BusError where DOCUMENT is none that imaged would send.
std::vector<ListedImage> listed_images(const std::string& document);

}  // namespace imagectl
