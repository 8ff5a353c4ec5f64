// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunked-writer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/base64.hpp"
#include "base/enum-names.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/spill-array.hpp"
#include "chunked/chunked-parts.hpp"
#include "layer/zstd-writer.hpp"

namespace imaged {

namespace {

using nlohmann::ordered_json;

constexpr std::size_t read_bytes = 128 * 1024;
// RFC 8878, "Skippable Frames".
constexpr std::uint32_t skippable_magic = 0x184D2A50;
constexpr std::uint64_t table_format = 1;
constexpr std::string_view footer_magic = "GNUlInUx";
constexpr unsigned file_piece = 1, segment_piece = 2;

// CRC-64 of ISO 3309, eight bytes at a time. tar-split's programs check contents with it.
constexpr auto crc_tables = [] {
    constexpr std::uint64_t polynomial = 0xD800000000000000;
    std::array<std::array<std::uint64_t, 256>, 8> tables{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        std::uint64_t value = byte;
        for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? value >> 1 ^ polynomial : value >> 1;
        tables[0][byte] = value;
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
        for (unsigned i = 1; i < 8; ++i)
            tables[i][byte] = tables[0][tables[i - 1][byte] & 0xff] ^ tables[i - 1][byte] >> 8;
    }
    return tables;
}();

std::uint64_t crc64(std::uint64_t crc, std::span<const std::byte> bytes) {
    crc = ~crc;
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        for (unsigned byte = 0; byte < 8; ++byte) crc ^= std::to_integer<std::uint64_t>(bytes[i + byte]) << (8 * byte);
        std::uint64_t next = 0;
        for (unsigned byte = 0; byte < 8; ++byte) next ^= crc_tables[7 - byte][crc >> (8 * byte) & 0xff];
        crc = next;
    }
    for (; i < bytes.size(); ++i)
        crc = crc_tables[0][(crc ^ std::to_integer<std::uint64_t>(bytes[i])) & 0xff] ^ crc >> 8;
    return ~crc;
}

// Files from this size on have chunks.
constexpr std::uint64_t least_large_bytes = 1024 * 1024;

std::string big_endian(std::uint64_t value) {
    std::string bytes(8, '\0');
    for (std::size_t i = 8; i-- > 0; value >>= 8) bytes[i] = static_cast<char>(value & 0xff);
    return bytes;
}

template <typename T>
std::string little_endian(T value) {
    std::string bytes(sizeof value, '\0');
    for (auto& byte : bytes) {
        byte = static_cast<char>(value & 0xff);
        value >>= 8;
    }
    return bytes;
}

constexpr auto kinds = enum_names<TarItem::Type>({{TarItem::Type::file, "reg"},
                                                  {TarItem::Type::hardlink, "hardlink"},
                                                  {TarItem::Type::symlink, "symlink"},
                                                  {TarItem::Type::directory, "dir"}});

// What the table says of ITEM, but for its content. It must be what the headers say: other programs compare them.
ordered_json row_of(const TarItem& item) {
    ordered_json row{{"type", kinds.name(item.type)}, {"name", item.path}};
    if (!item.target.empty()) row["linkName"] = item.target;
    row["mode"] = item.mode;
    row["size"] = item.size;
    row["uid"] = item.uid;
    row["gid"] = item.gid;
    row["modtime"] = "1970-01-01T00:00:00Z";
    for (const auto& [name, value] : item.xattrs) row["xattrs"][name] = encode_base64(value);
    return row;
}

}  // namespace

class ChunkedWriter::Frames : public ByteSink {
public:
    Frames(ByteSink& sink, std::uint64_t& position) : sink_(sink), position_(position) {}
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override {
        sink_.write(bytes);
        position_ += bytes.size();
    }

private:
    ByteSink& sink_;
    std::uint64_t& position_;

public:
    ZstdWriter stream{*this, {{ZSTD_c_compressionLevel, zstd_layer_level}}};
};

// One of the two tables: a text in a frame. It is written behind the tar, so it is kept until then.
class ChunkedWriter::Table {
public:
    Table() : packed_(max_packed_part_bytes) {}

    void write(std::string_view text) {
        if (!fits_) return;
        unpacked_ += text.size();
        fits_ = unpacked_ <= max_part_bytes;
        stream_.write(text);
    }
    // Whether it is as small as readers expect. If it is not, what is kept is of no use.
    bool finish() {
        stream_.end();
        return fits_;
    }
    Checksum digest() const {
        Sha256 hash;
        each([&](std::span<const std::byte> bytes) { hash.update(bytes); });
        return hash.finish();
    }
    template <typename Take>
    void each(Take&& take) const {
        for (std::size_t done = 0; done < packed_.size();) {
            const auto count = std::min(read_bytes, packed_.size() - done);
            packed_.touch(done, count);
            take(std::span<const std::byte>(packed_.data() + done, count));
            done += count;
        }
    }
    std::uint64_t packed() const { return packed_.size(); }
    std::uint64_t unpacked() const { return unpacked_; }

private:
    struct Packed : ByteSink {
        explicit Packed(Table& of) : table(of) {}
        void write(std::span<const std::byte> bytes) override {
            table.fits_ = table.fits_ && bytes.size() <= max_packed_part_bytes - table.packed_.size();
            if (table.fits_) std::copy(bytes.begin(), bytes.end(), table.packed_.extend(bytes.size()));
        }
        Table& table;
    };

    SpillMapping packed_;
    Packed sink_{*this};
    ZstdWriter stream_{sink_, {{ZSTD_c_compressionLevel, zstd_layer_level}}};
    std::uint64_t unpacked_ = 0;
    bool fits_ = true;
};

ChunkedWriter::ChunkedWriter(ByteSink& sink)
    : sink_(sink),
      frames_(std::make_unique<Frames>(sink, position_)),
      table_(std::make_unique<Table>()),
      split_(std::make_unique<Table>()) {
    table_->write(R"({"version":1,"entries":[)");
}

ChunkedWriter::~ChunkedWriter() = default;

void ChunkedWriter::write(std::span<const std::byte> bytes) {
    if (file_) {
        const auto content = bytes.first(std::min<std::uint64_t>(bytes.size(), file_->left));
        write_content(content);
        content_.update(content);
        file_->crc = crc64(file_->crc, content);
        file_->left -= content.size();
        if (file_->left == 0) end_file();
        bytes = bytes.subspan(content.size());
    }
    segment_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void ChunkedWriter::write_content(std::span<const std::byte> content) {
    if (file_->item.size < least_large_bytes) return frames_->stream.write(content);
    while (!content.empty()) {
        bool cut = false;
        // The last chunk that may be has all the rest.
        const bool is_last = file_->chunks.size() + 1 == max_file_chunks;
        const auto piece = content.first(is_last ? content.size() : file_->ends.rest(content, cut));
        frames_->stream.write(piece);
        chunk_content_.update(piece);
        file_->chunk.size += piece.size();
        if (cut) end_chunk();
        content = content.subspan(piece.size());
    }
}

void ChunkedWriter::end_chunk() {
    frames_->stream.end();
    auto& chunk = file_->chunk;
    chunk.content = chunk_content_.finish();
    file_->chunks.push_back(chunk);
    chunk = {0, position_, {}};
}

// The tar-split has a piece for each entry's headers, with the padding before them: its readers expect it.
void ChunkedWriter::end_segment() {
    frames_->stream.write(segment_);
    split_->write(ordered_json{{"type", segment_piece}, {"payload", encode_base64(segment_)}}.dump() + "\n");
    segment_.clear();
}

void ChunkedWriter::entry(const TarItem& item) {
    end_segment();
    auto path = std::string_view(item.path);
    while (path.ends_with('/')) path.remove_suffix(1);
    paths_.push_back(std::hash<std::string_view>()(path));
    file_ = File{item, item.size, position_};
    if (item.size == 0) return end_file();
    frames_->stream.end();
    file_->offset = file_->chunk.offset = position_;
    if (item.size < least_large_bytes) frames_->stream.announce(item.size);
}

void ChunkedWriter::end_file() {
    if (file_->chunk.size > 0) end_chunk();
    const auto file = *std::exchange(file_, std::nullopt);
    auto row = row_of(file.item);
    ordered_json piece{{"type", file_piece}, {"name", file.item.path}};
    if (file.item.size > 0) {
        frames_->stream.end();
        row["digest"] = Digest(content_.finish()).text();
        row["offset"] = file.offset;
        row["endOffset"] = position_;
        piece["size"] = file.item.size;
        piece["payload"] = encode_base64(big_endian(file.crc));
    } else {
        piece["payload"] = nullptr;
    }
    try {
        const auto digest_of = [](const TableChunk& chunk) { return Digest(chunk.content).text(); };
        if (file.chunks.size() > 1) {
            row["chunkSize"] = file.chunks.front().size;
            row["chunkDigest"] = digest_of(file.chunks.front());
        }
        table_->write((std::exchange(first_row_, false) ? "" : ",") + row.dump());
        std::uint64_t position = 0;
        for (const auto& chunk : file.chunks) {
            if (position > 0)
                table_->write("," + ordered_json{{"type", "chunk"},
                                                 {"name", file.item.path},
                                                 {"offset", chunk.offset},
                                                 {"chunkSize", chunk.size},
                                                 {"chunkOffset", position},
                                                 {"chunkDigest", digest_of(chunk)}}
                                        .dump());
            position += chunk.size;
        }
        split_->write(piece.dump() + "\n");
    } catch (const ordered_json::exception&) {  // not UTF-8
        describable_ = false;
    }
}

std::map<std::string, std::string> ChunkedWriter::finish() {
    end_segment();
    frames_->stream.end();
    std::sort(paths_.begin(), paths_.end());
    const bool once = std::adjacent_find(paths_.begin(), paths_.end()) == paths_.end();
    if (!split_->finish() || !once || !describable_ || paths_.size() > max_table_files) return {};
    table_->write(R"(],"tarSplitDigest":")" + Digest(split_->digest()).text() + R"("})");
    if (!table_->finish()) return {};

    const auto append = [&](std::string_view bytes) {
        sink_.write(bytes);
        position_ += bytes.size();
    };
    const auto skippable = [&](std::uint64_t bytes) {
        append(little_endian(skippable_magic) + little_endian(static_cast<std::uint32_t>(bytes)));
        return position_;
    };
    const auto put = [&](const Table& table) {
        const auto offset = skippable(table.packed());
        table.each([&](std::span<const std::byte> bytes) { sink_.write(bytes); });
        position_ += table.packed();
        return offset;
    };
    const auto table_offset = put(*table_), split_offset = put(*split_);
    std::string footer;
    for (const auto number : {table_offset, table_->packed(), table_->unpacked(), table_format, split_offset,
                              split_->packed(), split_->unpacked()})
        footer += little_endian(number);
    footer += footer_magic;
    skippable(footer.size());
    append(footer);

    const auto text = [](std::uint64_t number) { return std::to_string(number); };
    return {{"manifest-checksum", Digest(table_->digest()).text()},
            {"manifest-position", text(table_offset) + ":" + text(table_->packed()) + ":" + text(table_->unpacked()) +
                                      ":" + text(table_format)},
            {"tarsplit-position", text(split_offset) + ":" + text(split_->packed()) + ":" + text(split_->unpacked())}};
}

}  // namespace imaged
