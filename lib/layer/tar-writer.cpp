// SPDX-License-Identifier: Apache-2.0
#include "layer/tar-writer.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::size_t block = 512;
constexpr std::size_t short_name_bytes = 100;
constexpr std::array<std::byte, block> zeros{};

struct Header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, target[100], magic[8], user[32],
        group[32], major[8], minor[8], prefix[155], rest[12];
};
static_assert(sizeof(Header) == block);

bool fits_octal(std::uint64_t value, std::size_t field) {
    return value >> (3 * (field - 1)) == 0;
}

// Octal digits and a NUL; what does not fit in binary, marked by the first bit (GNU).
template <std::size_t size>
void put_number(char (&field)[size], std::uint64_t value) {
    if (!fits_octal(value, size)) {
        std::memset(field, 0, size);
        for (std::size_t i = size; value != 0; value >>= 8) field[--i] = static_cast<char>(value & 0xff);
        field[0] = static_cast<char>(0x80);
        return;
    }
    field[size - 1] = '\0';
    for (std::size_t i = size - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// What ostree-ext's tar library leaves of a target that the header has no room for: the directories that fit.
std::string_view fitting_directories(std::string_view path) {
    if (path.size() <= short_name_bytes || path[short_name_bytes] == '/') return path.substr(0, short_name_bytes);
    const auto slash = path.rfind('/', short_name_bytes - 1);
    return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash + 1);
}

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
std::string record(std::string_view key, std::string_view value) {
    const auto rest = key.size() + value.size() + 3;
    auto length = rest + 1;
    while (std::to_string(length).size() + rest != length) length = std::to_string(length).size() + rest;
    return std::to_string(length) + " " + std::string(key) + "=" + std::string(value) + "\n";
}

}  // namespace

void TarWriter::write_header(char type, std::string_view name, std::string_view target, const TarItem& item) {
    Header header;
    std::memset(&header, 0, sizeof header);
    std::string_view(item.earlier_path).copy(header.name, short_name_bytes);
    name.copy(header.name, short_name_bytes);
    if (name.size() < short_name_bytes) header.name[name.size()] = '\0';
    target.copy(header.target, short_name_bytes);
    put_number(header.mode, item.mode);
    put_number(header.uid, item.uid);
    put_number(header.gid, item.gid);
    put_number(header.size, item.size);
    put_number(header.mtime, 0);
    header.type = type;
    std::memcpy(header.magic, style_ == TarStyle::gnu ? "ustar  \0" : "ustar\00000", sizeof header.magic);
    std::memset(header.checksum, ' ', sizeof header.checksum);
    std::array<unsigned char, block> bytes;
    std::memcpy(bytes.data(), &header, block);
    unsigned sum = 0;
    for (const auto byte : bytes) sum += byte;
    put_number(header.checksum, sum);
    sink_.write(std::as_bytes(std::span(&header, 1)));
}

void TarWriter::write_padded(std::string_view bytes) {
    sink_.write(bytes);
    if (const auto over = bytes.size() % block; over != 0) sink_.write(std::span(zeros).first(block - over));
}

// GNU: an entry whose content is the name of the next one.
void TarWriter::write_long(char type, std::string_view text) {
    if (text.size() <= short_name_bytes) return;
    TarItem item;
    item.mode = 0644;
    item.size = text.size() + 1;
    write_header(type, "././@LongLink", {}, item);
    write_padded(std::string(text) + '\0');
}

// What the header has no room for.
void TarWriter::write_extension(const TarItem& item) {
    if (style_ == TarStyle::gnu) {
        write_long('L', item.path);
        write_long('K', item.target);
        return;
    }
    std::string records;
    if (item.path.size() > short_name_bytes || !is_ascii(item.path)) records += record("path", item.path);
    if (item.target.size() > short_name_bytes || !is_ascii(item.target)) records += record("linkpath", item.target);
    if (!fits_octal(item.size, sizeof Header::size)) records += record("size", std::to_string(item.size));
    if (!fits_octal(item.uid, sizeof Header::uid)) records += record("uid", std::to_string(item.uid));
    if (!fits_octal(item.gid, sizeof Header::gid)) records += record("gid", std::to_string(item.gid));
    for (const auto& [name, value] : item.xattrs) records += record("SCHILY.xattr." + name, value);
    if (records.empty()) return;
    TarItem extension;
    extension.mode = 0644;
    extension.size = records.size();
    write_header('x', "PaxHeaders/entry", {}, extension);
    write_padded(records);
}

void TarWriter::begin(const TarItem& item) {
    if (left_ != 0) throw Error(ErrorKind::failed, "a file ended before its size");
    write_extension(item);
    const auto target = style_ == TarStyle::gnu && item.type == TarItem::Type::hardlink
                            ? fitting_directories(item.target)
                            : std::string_view(item.target);
    write_header(static_cast<char>(item.type), item.path, target, item);
    left_ = item.size;
    written_ = 0;
    if (entry_) entry_(item);
}

void TarWriter::content(std::span<const std::byte> piece) {
    if (piece.size() > left_) throw Error(ErrorKind::failed, "a file is longer than its size");
    sink_.write(piece);
    written_ += piece.size();
    left_ -= piece.size();
    if (left_ == 0 && written_ % block != 0) sink_.write(std::span(zeros).first(block - written_ % block));
}

void TarWriter::add(TarItem item, std::string_view bytes) {
    item.size = bytes.size();
    begin(item);
    if (!bytes.empty()) content(std::as_bytes(std::span(bytes)));
}

void TarWriter::finish() {
    if (left_ != 0) throw Error(ErrorKind::failed, "a file ended before its size");
    sink_.write(zeros);
    sink_.write(zeros);
}

}  // namespace imaged
