// SPDX-License-Identifier: Apache-2.0
#include "source/archive/tar-index.hpp"

#include <charconv>
#include <string_view>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

constexpr std::uint64_t block = 512;
// Three files a layer, and some for each of a thousand images.
constexpr std::size_t max_entries = 100'000;
// A path, or pax records of a few paths.
constexpr std::uint64_t max_extension_bytes = 64 * 1024;
constexpr unsigned max_link_steps = 16;

[[noreturn]] void corrupt(const std::string& what, std::uint64_t offset) {
    throw Error(ErrorKind::corrupt_input, "archive: " + what + " at byte " + std::to_string(offset));
}

std::string_view text_of(std::string_view header, std::size_t begin, std::size_t size) {
    const auto field = header.substr(begin, size);
    return field.substr(0, field.find('\0'));
}

std::uint64_t number_of(std::string_view field, std::uint64_t offset) {
    std::uint64_t value = 0;
    if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80) != 0) {
        // Binary, GNU's way for what octal digits have no room for.
        if (field[0] != static_cast<char>(0x80)) corrupt("a negative number", offset);
        for (const char c : field.substr(1)) {
            if (value >> 55 != 0) corrupt("a number that is too large", offset);
            value = value << 8 | static_cast<unsigned char>(c);
        }
        return value;
    }
    for (const char c : field) {
        if (c == ' ' && value == 0) continue;
        if (c == ' ' || c == '\0') break;
        if (c < '0' || c > '7') corrupt("no tar header", offset);
        value = value << 3 | static_cast<unsigned>(c - '0');
    }
    return value;
}

bool has_checksum(std::string_view header, std::uint64_t expected) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < block; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
    return sum == expected;
}

std::string plain(std::string_view name) {
    while (name.starts_with("./")) name.remove_prefix(2);
    while (name.starts_with('/')) name.remove_prefix(1);
    while (name.ends_with('/')) name.remove_suffix(1);
    return std::string(name);
}

// TARGET as seen from the directory of LINK.
std::string resolved(const std::string& link, std::string target) {
    auto directory = link.substr(0, link.rfind('/') == std::string::npos ? 0 : link.rfind('/'));
    while (target.starts_with("../")) {
        target.erase(0, 3);
        const auto slash = directory.rfind('/');
        directory.resize(slash == std::string::npos ? 0 : slash);
    }
    return directory.empty() ? plain(target) : directory + "/" + plain(target);
}

// "LENGTH KEY=VALUE\n", again and again.
std::map<std::string, std::string> records_of(std::string_view text, std::uint64_t offset) {
    std::map<std::string, std::string> records;
    while (!text.empty()) {
        std::size_t length = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
        const auto digits = static_cast<std::size_t>(end - text.data());
        if (error != std::errc() || length > text.size() || length < digits + 3 || text[digits] != ' ' ||
            text[length - 1] != '\n')
            corrupt("a broken pax record", offset);
        const auto record = text.substr(digits + 1, length - digits - 2);
        const auto equals = record.find('=');
        if (equals == std::string_view::npos) corrupt("a broken pax record", offset);
        records[std::string(record.substr(0, equals))] = record.substr(equals + 1);
        text.remove_prefix(length);
    }
    return records;
}

}  // namespace

std::string read_at(int fd, std::uint64_t offset, std::uint64_t size, const std::string& what) {
    std::string bytes(size, '\0');
    const auto done = read_at(fd, offset, std::as_writable_bytes(std::span(bytes)), what);
    if (done < bytes.size()) corrupt("it ends in " + what, offset + done);
    return bytes;
}

TarIndex::TarIndex(int fd, const Cancellation& cancellation) {
    std::string long_name, long_target;
    std::map<std::string, std::string> extended;
    std::size_t entries = 0;
    for (std::uint64_t offset = 0;;) {
        cancellation.check();
        const auto header = read_at(fd, offset, block, "a tar header");
        if (header.find_first_not_of('\0') == std::string::npos) break;
        if (!has_checksum(header, number_of(std::string_view(header).substr(148, 8), offset)))
            corrupt("no tar header", offset);
        if (++entries > max_entries)
            throw Error(ErrorKind::unsupported_image,
                        "an archive of more than " + std::to_string(max_entries) + " entries");
        auto size = number_of(std::string_view(header).substr(124, 12), offset);
        const char type = header[156];
        const auto content = offset + block;
        if (type == 'L' || type == 'K' || type == 'x') {
            if (size > max_extension_bytes) corrupt("a longer extension than the limit", offset);
            auto text = read_at(fd, content, size, "a tar header");
            if (type == 'x') {
                extended = records_of(text, offset);
            } else {
                (type == 'L' ? long_name : long_target) = text.substr(0, text.find('\0'));
            }
        } else if (type != 'g') {
            std::string name(text_of(header, 0, 100));
            if (const auto prefix = text_of(header, 345, 155);
                std::string_view(header).substr(257, 6) == std::string_view("ustar\0", 6) && !prefix.empty())
                name = std::string(prefix) + "/" + name;
            std::string target(text_of(header, 157, 100));
            if (!long_name.empty()) name = long_name;
            if (!long_target.empty()) target = long_target;
            if (const auto path = extended.find("path"); path != extended.end()) name = path->second;
            if (const auto link = extended.find("linkpath"); link != extended.end()) target = link->second;
            if (const auto real = extended.find("size"); real != extended.end()) {
                const auto& digits = real->second;
                if (std::from_chars(digits.data(), digits.data() + digits.size(), size).ec != std::errc())
                    corrupt("a broken size", offset);
            }
            name = plain(name);
            if (type == '0' || type == '\0' || type == '7') {
                files_[name] = {content, size};
                links_.erase(name);
            } else {
                if (type == '1') links_[name] = plain(target);
                if (type == '2') links_[name] = resolved(name, target);
                files_.erase(name);
                // Links, directories and special files have no content, whatever their headers say.
                if (type >= '1' && type <= '6') size = 0;
            }
            long_name.clear();
            long_target.clear();
            extended.clear();
        }
        if (size > INT64_MAX / 2 || content + size > INT64_MAX / 2) corrupt("an entry that is too large", offset);
        offset = content + (size + block - 1) / block * block;
    }
}

std::optional<TarIndex::Place> TarIndex::find(const std::string& name) const {
    auto place = plain(name);
    for (unsigned step = 0; step < max_link_steps; ++step) {
        if (const auto file = files_.find(place); file != files_.end()) return file->second;
        const auto link = links_.find(place);
        if (link == links_.end()) return std::nullopt;
        place = link->second;
    }
    return std::nullopt;
}

}  // namespace imaged
