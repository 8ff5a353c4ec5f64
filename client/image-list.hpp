// SPDX-License-Identifier: Apache-2.0
// Parses the document of org.imaged1.Manager.DescribeImages without trusting it: a missing key and one of another type
// than expected are both absent.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bus/connection.hpp"

namespace imagectl {

// Its texts are those of the ImageList that it is in.
class ListedImage {
public:
    using Value = std::variant<std::string_view, std::uint64_t>;

    const std::string_view* text(std::string_view key) const;  // null when absent
    std::optional<std::uint64_t> number(std::string_view key) const;

    // The versions that are kept of it (org.imaged1.Manager.ListImages); without any of their own.
    std::vector<ListedImage> kept;

    // The last one of a key counts.
    void add(std::string_view key, Value value);

private:
    const Value* value(std::string_view key) const;

    std::vector<std::pair<std::string_view, Value>> members_;
};

// The images of a document, of which it keeps a copy: a string for each text would take several times the memory.
class ImageList {
public:
    // Throws BusError where DOCUMENT is none that imaged would send.
    explicit ImageList(std::string_view document);

    std::size_t size() const { return images_.size(); }
    const ListedImage& operator[](std::size_t at) const { return images_[at]; }
    auto begin() const { return images_.begin(); }
    auto end() const { return images_.end(); }

private:
    std::unique_ptr<char[]> document_;
    std::vector<ListedImage> images_;
};

// The images that imaged has. Throws BusError.
ImageList listed_images(const Connection& connection);

}  // namespace imagectl
