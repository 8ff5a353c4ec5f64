// SPDX-License-Identifier: Apache-2.0
#include "layer/dirtree.hpp"

#include <glib.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstring>

#include "base/error.hpp"
#include "layer/object.hpp"

namespace imaged {

namespace {

constexpr std::size_t checksum_bytes = sizeof(Checksum::bytes);

[[noreturn]] void broken(const char* what) {
    throw Error(ErrorKind::repository_damaged, std::string("a dirtree ") + what);
}

unsigned offset_width(std::size_t container_bytes) {
    return container_bytes <= 0xff ? 1 : container_bytes <= 0xffff ? 2 : container_bytes <= 0xffffffff ? 4 : 8;
}

// The width that a container of BODY bytes needs with COUNT offsets behind them.
unsigned width_with_offsets(std::size_t body, std::size_t count) {
    for (const unsigned width : {1U, 2U, 4U}) {
        if (offset_width(body + count * width) == width) return width;
    }
    return 8;
}

void append_offset(std::string& bytes, std::size_t offset, unsigned width) {
    for (unsigned i = 0; i < width; ++i) bytes.push_back(static_cast<char>(offset >> (8 * i)));
}

std::size_t read_offset(std::string_view bytes, std::size_t position, unsigned width) {
    std::size_t offset = 0;
    for (unsigned i = 0; i < width; ++i)
        offset |= static_cast<std::size_t>(static_cast<unsigned char>(bytes[position + i])) << (8 * i);
    return offset;
}

std::string_view view(const Checksum& checksum) {
    return {reinterpret_cast<const char*>(checksum.bytes.data()), checksum_bytes};
}

Checksum read_checksum(std::string_view bytes) {
    Checksum checksum;
    std::memcpy(checksum.bytes.data(), bytes.data(), checksum_bytes);
    return checksum;
}

// The elements of an array, appended one by one.
class ArrayWriter {
public:
    // CONTENT is the size of COUNT elements without offsets: grown in steps, a large array would take twice its size.
    ArrayWriter(std::size_t content, std::size_t count) {
        // One or two of a byte in an element with a usual name, and one in the table.
        constexpr std::size_t offsets_bytes = 2 + sizeof(std::uint32_t);
        bytes_.reserve(content + count * offsets_bytes);
        ends_.reserve(count);
    }
    // One tuple of a name and one or two checksums.
    void add(std::string_view name, std::string_view first, std::string_view second) {
        const auto begin = bytes_.size();
        bytes_.append(name).push_back('\0');
        const auto name_end = bytes_.size() - begin;
        bytes_.append(first);
        const auto first_end = bytes_.size() - begin;
        bytes_.append(second);
        const bool two = !second.empty();
        const auto width = width_with_offsets(bytes_.size() - begin, two ? 2 : 1);
        if (two) append_offset(bytes_, first_end, width);
        append_offset(bytes_, name_end, width);
        ends_.push_back(bytes_.size());
    }
    std::string finish() {
        const auto width = width_with_offsets(bytes_.size(), ends_.size());
        for (const auto end : ends_) append_offset(bytes_, end, width);
        return std::move(bytes_);
    }

private:
    std::string bytes_;
    std::vector<std::size_t> ends_;
};

struct Element {
    std::string_view name, checksums;
};

// Whether libostree takes the name in a dirtree, and Linux in a directory.
bool is_name(std::string_view name) {
    return name.size() <= NAME_MAX && name.find('/') == std::string_view::npos && name != "." && name != ".." &&
           g_utf8_validate_len(name.data(), name.size(), nullptr) != FALSE;
}

// One tuple of a name and CHECKSUMS checksums.
Element parse_element(std::string_view bytes, std::size_t checksums) {
    const auto width = offset_width(bytes.size());
    if (bytes.size() < checksums * (checksum_bytes + width) + 2) broken("has an entry that is too short");
    const auto offsets = bytes.size() - checksums * width;
    const auto name_end = read_offset(bytes, bytes.size() - width, width);
    if (name_end < 2 || name_end + checksums * checksum_bytes != offsets) broken("has a broken checksum");
    if (checksums == 2 && read_offset(bytes, offsets, width) != name_end + checksum_bytes)
        broken("has a broken checksum");
    const auto name = bytes.substr(0, name_end - 1);
    if (bytes[name_end - 1] != '\0' || !is_name(name)) broken("has an entry with an impossible name");
    return {name, bytes.substr(name_end, checksums * checksum_bytes)};
}

// Where the table begins of the array that BYTES, which are not empty, are: there the last element ends.
std::size_t table_of(std::string_view bytes, unsigned width) {
    if (bytes.size() < width) broken("is cut short");
    const auto table = read_offset(bytes, bytes.size() - width, width);
    if (table > bytes.size() || (bytes.size() - table) % width != 0) broken("has a broken table");
    return table;
}

// The checksums of the element NAME of the array that BYTES are.
std::optional<std::string_view> find_in_array(std::string_view bytes, std::string_view name, std::size_t checksums) {
    if (bytes.empty()) return std::nullopt;
    const auto width = offset_width(bytes.size());
    const auto table = table_of(bytes, width);
    std::size_t first = 0, last = (bytes.size() - table) / width;
    while (first < last) {
        const auto middle = first + (last - first) / 2;
        const auto begin = middle == 0 ? 0 : read_offset(bytes, table + (middle - 1) * width, width);
        const auto end = read_offset(bytes, table + middle * width, width);
        if (end < begin || end > table) broken("has a broken table");
        const auto element = parse_element(bytes.substr(begin, end - begin), checksums);
        if (element.name == name) return element.checksums;
        (element.name < name ? first : last) = element.name < name ? middle + 1 : middle;
    }
    return std::nullopt;
}

// Calls TAKE with each element of the array that BYTES are.
template <typename Take>
void parse_array(std::string_view bytes, Take&& take) {
    if (bytes.empty()) return;
    const auto width = offset_width(bytes.size());
    const auto table = table_of(bytes, width);
    std::size_t begin = 0;
    for (auto position = table; position < bytes.size(); position += width) {
        const auto end = read_offset(bytes, position, width);
        if (end < begin || end > table) broken("has a broken table");
        take(bytes.substr(begin, end - begin));
        begin = end;
    }
}

struct Arrays {
    std::string_view files, directories;
};

// Of the dirtree that BYTES are.
Arrays arrays_of(std::string_view bytes) {
    const auto width = offset_width(bytes.size());
    if (bytes.size() < width) broken("is empty");
    const auto directories_end = bytes.size() - width;
    const auto files_end = read_offset(bytes, directories_end, width);
    if (files_end > directories_end) broken("has a broken table");
    return {bytes.substr(0, files_end), bytes.substr(files_end, directories_end - files_end)};
}

// The name that more than one entry has.
std::optional<std::string_view> name_given_twice(const DirectoryListing& listing) {
    std::vector<std::string_view> unsorted;
    const auto earlier = [](const auto& a, const auto& b) { return a.name < b.name; };
    if (std::is_sorted(listing.files.begin(), listing.files.end(), earlier) &&
        std::is_sorted(listing.directories.begin(), listing.directories.end(), earlier)) {
        // As a rule; nothing is copied then.
        std::string_view last;
        auto file = listing.files.begin();
        auto directory = listing.directories.begin();
        while (file != listing.files.end() || directory != listing.directories.end()) {
            const bool is_file =
                directory == listing.directories.end() || (file != listing.files.end() && file->name < directory->name);
            const std::string_view name = is_file ? (file++)->name : (directory++)->name;
            if (name == last) return name;
            last = name;
        }
        return std::nullopt;
    }
    for (const auto& file : listing.files) unsorted.push_back(file.name);
    for (const auto& directory : listing.directories) unsorted.push_back(directory.name);
    std::sort(unsorted.begin(), unsorted.end());
    const auto twice = std::adjacent_find(unsorted.begin(), unsorted.end());
    return twice == unsorted.end() ? std::nullopt : std::optional(*twice);
}

}  // namespace

std::string serialise_dirtree(const DirectoryListing& listing) {
    const auto require_room = [&](std::size_t bytes) {
        if (bytes > max_metadata_bytes)
            throw Error(ErrorKind::unsupported_image,
                        "a directory with " + std::to_string(listing.files.size() + listing.directories.size()) +
                            " entries is larger than an OSTree object may be (" +
                            std::to_string(max_metadata_bytes / 1024 / 1024) + " MiB)");
    };
    if (const auto name = name_given_twice(listing))
        throw Error(ErrorKind::corrupt_input,
                    "a directory has two entries with the name \"" + std::string(*name) + "\"");
    // Without the offsets, and before memory is taken for any of it.
    std::size_t files_content = 0, directories_content = 0;
    for (const auto& file : listing.files) files_content += file.name.size() + 1 + checksum_bytes;
    for (const auto& directory : listing.directories)
        directories_content += directory.name.size() + 1 + 2 * checksum_bytes;
    require_room(files_content + directories_content);
    ArrayWriter files(files_content, listing.files.size());
    ArrayWriter directories(directories_content, listing.directories.size());
    for (const auto& file : listing.files) files.add(file.name, view(file.object), {});
    for (const auto& directory : listing.directories)
        directories.add(directory.name, view(directory.tree), view(directory.meta));
    auto bytes = files.finish();
    const auto files_end = bytes.size();
    bytes += directories.finish();
    append_offset(bytes, files_end, width_with_offsets(bytes.size(), 1));
    require_room(bytes.size());
    return bytes;
}

DirectoryListing parse_dirtree(std::string_view bytes) {
    const auto [files, directories] = arrays_of(bytes);
    DirectoryListing listing;
    parse_array(files, [&](std::string_view element) {
        const auto [name, checksums] = parse_element(element, 1);
        listing.files.push_back({std::string(name), read_checksum(checksums)});
    });
    parse_array(directories, [&](std::string_view element) {
        const auto [name, checksums] = parse_element(element, 2);
        listing.directories.push_back(
            {std::string(name), read_checksum(checksums), read_checksum(checksums.substr(checksum_bytes))});
    });
    if (const auto name = name_given_twice(listing)) {
        const auto what = "has two entries with the name \"" + std::string(*name) + "\"";
        broken(what.c_str());
    }
    return listing;
}

DirtreeView::DirtreeView(std::string_view bytes) {
    const auto arrays = arrays_of(bytes);
    files_ = arrays.files;
    directories_ = arrays.directories;
}

std::optional<Checksum> DirtreeView::file(std::string_view name) const {
    const auto found = find_in_array(files_, name, 1);
    return found ? std::optional(read_checksum(*found)) : std::nullopt;
}

std::optional<Checksum> DirtreeView::directory(std::string_view name) const {
    const auto found = find_in_array(directories_, name, 2);
    return found ? std::optional(read_checksum(*found)) : std::nullopt;
}

}  // namespace imaged
