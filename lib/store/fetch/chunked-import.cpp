// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/chunked-import.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.hpp"
#include "base/spill-array.hpp"
#include "chunked/assembled-tar.hpp"
#include "chunked/chunked-parts.hpp"
#include "chunked/unpacked-part.hpp"
#include "chunked/wanted-frames.hpp"
#include "layer/decompressor.hpp"
#include "layer/layer-stream.hpp"
#include "store/fetch/blob-parts.hpp"

namespace imaged {

namespace {

// With more of it to fetch, tables included, all of it is: of a hundred. That is at most a tenth more.
constexpr std::uint64_t most_percent = 91;
// Between the table and the tar-split there is the head of a frame.
constexpr std::uint64_t most_between = 4096;
constexpr std::size_t block_bytes = 64 * 1024;

// The frames of table and tar-split, which lie beside each other in the blob.
class Tables {
public:
    explicit Tables(const ChunkedParts& parts)
        : parts_(parts), begin_(parts.table.offset), bytes_(parts.split.offset + parts.split.bytes - begin_) {}

    static bool are_together(const ChunkedParts& parts) {
        const auto table_end = parts.table.offset + parts.table.bytes;
        return parts.split.offset >= table_end && parts.split.offset - table_end <= most_between;
    }
    // What to fetch, in one request: its answer shows whether the source gives several ranges in one.
    std::vector<BlobRange> ranges() const {
        return {{parts_.table.offset, parts_.table.bytes}, {parts_.split.offset, parts_.split.bytes}};
    }

    // SOURCE has the bytes of ranges().
    void fetch(ByteSource& source) {
        fetch(source, parts_.table.bytes);
        bytes_.extend(static_cast<std::size_t>(parts_.split.offset - begin_) - bytes_.size());
        fetch(source, parts_.split.bytes);
    }
    // Of the frame of PART.
    Checksum digest(const PackedPart& part) const {
        Sha256 hash;
        const auto begin = part.offset - begin_;
        for (std::uint64_t done = 0; done < part.bytes;) {
            const auto piece = piece_at(begin + done, part.bytes - done);
            hash.update(piece);
            done += piece.size();
        }
        return hash.finish();
    }
    // Some bytes at OFFSET, at most COUNT; valid until the next call.
    std::span<const std::byte> piece_at(std::uint64_t offset, std::uint64_t count) const {
        const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(count, block_bytes));
        bytes_.touch(static_cast<std::size_t>(offset), size);
        return {bytes_.data() + offset, size};
    }

    std::uint64_t begin() const { return begin_; }

private:
    void fetch(ByteSource& source, std::uint64_t left) {
        while (left > 0) {
            const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left, block_bytes));
            if (source.read({bytes_.extend(count), count}) < count)
                throw Error(ErrorKind::source_unreachable, "the table of contents ends early");
            left -= count;
        }
    }

    const ChunkedParts& parts_;
    const std::uint64_t begin_;  // in the blob
    SpillMapping bytes_;
};

// The text that one of them decompresses to, and no more than the annotations say.
class TableText : public ByteSource {
public:
    TableText(const Tables& tables, const PackedPart& part)
        : packed_(tables, part), text_(packed_, part.unpacked, "a table of contents") {}

    std::size_t read(std::span<std::byte> buffer) override { return text_.read(buffer); }

private:
    class Packed : public ByteSource {
    public:
        Packed(const Tables& tables, const PackedPart& part)
            : tables_(tables), position_(part.offset - tables.begin()), left_(part.bytes) {}
        std::size_t read(std::span<std::byte> buffer) override {
            std::size_t filled = 0;
            while (filled < buffer.size() && left_ > 0) {
                const auto piece = tables_.piece_at(position_, std::min<std::uint64_t>(left_, buffer.size() - filled));
                std::memcpy(buffer.data() + filled, piece.data(), piece.size());
                filled += piece.size();
                position_ += piece.size();
                left_ -= piece.size();
            }
            return filled;
        }

    private:
        const Tables& tables_;
        std::uint64_t position_, left_;
    };

    Packed packed_;
    UnpackedPart text_;
};

// All bytes of a blob of which the tables were fetched before.
class WholeBlob : public StoppableSource {
public:
    // All borrowed. REST gives the bytes of rest_of().
    WholeBlob(const Descriptor& blob, const ChunkedParts& parts, const Tables& tables, BlobParts& rest)
        : blob_(blob), tables_(tables), rest_(rest), parts_{parts.table, parts.split} {}

    // The ranges of BLOB that are in neither table.
    static std::vector<BlobRange> rest_of(const Descriptor& blob, const ChunkedParts& parts) {
        std::vector<BlobRange> ranges;
        std::uint64_t position = 0;
        const auto add = [&](std::uint64_t end, std::uint64_t next) {
            if (end > position) ranges.push_back({position, end - position});
            position = next;
        };
        for (const auto& part : {parts.table, parts.split}) add(part.offset, part.offset + part.bytes);
        add(blob.size, blob.size);
        return ranges;
    }

    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t filled = 0;
        while (filled < buffer.size() && position_ < blob_.size) {
            const auto count = read_some(buffer.subspan(filled));
            hash_.update(buffer.subspan(filled, count));
            filled += count;
            position_ += count;
        }
        return filled;
    }
    void stop() override { rest_.stop(); }
    // Reads what is left; to be called when nobody else reads. Throws Error(digest_mismatch) if the bytes are not the
    // blob's.
    void finish() {
        std::vector<std::byte> buffer(block_bytes);
        while (read(buffer) > 0) {
        }
        rest_.finish();
        if (const Digest digest(hash_.finish()); digest != blob_.digest)
            throw Error(ErrorKind::digest_mismatch,
                        "the parts of the layer together have the digest " + digest.text() + ", not that of the layer");
    }

private:
    // At most to the end of the part that the position is in.
    std::size_t read_some(std::span<std::byte> room) {
        auto end = blob_.size;
        for (const auto& part : parts_) {
            const auto part_end = part.offset + part.bytes;
            if (position_ >= part_end) continue;
            if (position_ >= part.offset) {
                const auto wanted = std::min<std::uint64_t>(room.size(), part_end - position_);
                const auto piece = tables_.piece_at(position_ - tables_.begin(), wanted);
                std::memcpy(room.data(), piece.data(), piece.size());
                return piece.size();
            }
            end = part.offset;
            break;
        }
        const auto count =
            rest_.read(room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), end - position_))));
        if (count == 0) throw Error(ErrorKind::source_unreachable, "the layer ends early");
        return count;
    }

    const Descriptor& blob_;
    const Tables& tables_;
    BlobParts& rest_;
    const std::array<PackedPart, 2> parts_;
    Sha256 hash_;
    std::uint64_t position_ = 0;
};

class AssembledStream : public StoppableSource {
public:
    AssembledStream(AssembledTar& tar, BlobParts& parts) : tar_(tar), parts_(parts) {}
    std::size_t read(std::span<std::byte> buffer) override { return tar_.read(buffer); }
    FileDescriptor file_at(std::uint64_t offset) override { return tar_.file_at(offset); }
    void stop() override { parts_.stop(); }

private:
    AssembledTar& tar_;
    BlobParts& parts_;
};

// What to fetch of a layer, beside its tables.
struct ChunkedLayer {
    ChunkedParts parts;
    Tables tables{parts};
    ChunkedPlan plan = {};
    std::vector<BlobRange> ranges = {};

    // Fetches the tables of BLOB and looks for its files.
    void look_at_tables(LayerSource& source, const Descriptor& blob, LocalFiles& files, ExpansionLimit& looked_at,
                        const std::function<void(std::size_t)>& taken) {
        const auto wanted = tables.ranges();
        BlobParts head(source, blob, wanted, taken, wanted.size());
        tables.fetch(head);
        head.finish();
        make_plan(files, source.cancellation(), looked_at);
        files.release_directories();
        ranges = plan.ranges(source.gives_several_parts() ? many_at_a_time : one_by_one);
    }

    std::uint64_t bytes() const { return bytes_of(tables.ranges()) + bytes_of(ranges); }
    bool is_nearly_whole(const Descriptor& blob) const { return bytes() > blob.size / 100 * most_percent; }

    // Which files are here. Verifies both tables.
    void make_plan(LocalFiles& files, const Cancellation& cancellation, ExpansionLimit& looked_at) {
        if (Digest(tables.digest(parts.table)) != parts.table_digest)
            throw Error(ErrorKind::digest_mismatch,
                        "the table of contents does not have the digest that the manifest says");
        TableText text(tables, parts.table);
        const auto split_digest = read_table(text, [&](TableFile& file) {
            cancellation.check();
            if (file.end > parts.table.offset)
                throw Error(ErrorKind::corrupt_input, "the table of contents places a file after itself in the blob");
            // What the table says of sizes decides how much is read here.
            looked_at.read(static_cast<std::size_t>(file.end - file.offset));
            looked_at.grow(file.size);
            files.find(file, plan);
        });
        files.finish(plan);
        if (split_digest != tables.digest(parts.split))
            throw Error(ErrorKind::digest_mismatch,
                        "the tar-split does not have the digest that the table of contents says");
    }
};

ChunkedParts require_parts(const Descriptor& blob) {
    const auto parts = chunked_parts(blob);
    if (!parts || !Tables::are_together(*parts))
        throw Error(ErrorKind::unsupported_image, "its annotations name no table of contents with a tar-split");
    return *parts;
}

}  // namespace

std::optional<std::uint64_t> chunked_table_bytes(const Descriptor& blob) {
    const auto parts = chunked_parts(blob);
    return parts ? std::optional(parts->table.bytes + parts->split.bytes) : std::nullopt;
}

std::uint64_t chunked_layer_bytes(LayerSource& source, const Descriptor& blob, LocalFiles& files,
                                  ExpansionLimit& looked_at) {
    ChunkedLayer layer{.parts = require_parts(blob)};
    layer.look_at_tables(source, blob, files, looked_at, [](std::size_t) {});
    return layer.is_nearly_whole(blob) ? blob.size : layer.bytes();
}

StagedLayer import_chunked_layer(const LayerWork& work, LocalFiles& files, ExpansionLimit& looked_at) {
    const auto& layer = work.layer;
    const auto& hooks = work.hooks;
    const auto taken = [&](std::size_t bytes) {
        work.limit.read(bytes);
        hooks.progress(bytes);
    };
    ChunkedLayer chunked{.parts = require_parts(layer.blob)};
    const auto& [parts, tables, plan, ranges] = chunked;
    chunked.look_at_tables(work.source, layer.blob, files, looked_at, taken);
    StagedLayer staged;
    staged.sink = hooks.make_sink();
    if (chunked.is_nearly_whole(layer.blob)) {
        hooks.little_saved();
        hooks.expect_bytes(layer.blob.size);
        BlobParts rest(work.source, layer.blob, WholeBlob::rest_of(layer.blob, parts), taken);
        WholeBlob blob(layer.blob, parts, tables, rest);
        LayerStream stream(blob, work.limit);
        const auto diff_id = read_layer(stream, work, staged);
        blob.finish();
        require_diff_id(layer, diff_id);
        return staged;
    }
    hooks.expect_bytes(chunked.bytes());

    BlobParts blob(work.source, layer.blob, ranges, taken);
    WantedFrames frames(plan, ranges, blob);
    const auto contents = decompress(frames);
    TableText split(tables, parts.split);
    AssembledTar tar(split, plan, *contents, [&](const ChunkedPlan::File& file) {
        // As if they had been read.
        work.limit.read(static_cast<std::size_t>(file.end - file.offset));
        return files.open(file);
    });
    AssembledStream assembled(tar, blob);
    LayerStream stream(assembled, work.limit, LayerStream::Form::plain);
    require_diff_id(layer, read_layer(stream, work, staged));
    staged.partial = true;
    return staged;
}

}  // namespace imaged
