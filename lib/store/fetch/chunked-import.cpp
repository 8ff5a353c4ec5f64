// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/chunked-import.hpp"

#include <algorithm>
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

// Below this a layer is here sooner than its table is read.
constexpr std::uint64_t least_layer_bytes = 1024 * 1024;
// With more of it to fetch, all of it is: of a hundred.
constexpr std::uint64_t most_percent = 80;
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
    // What to fetch: the least of which the answer shows whether there are several ranges in one.
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

// Which files are here. Verifies both tables.
void make_plan(const ChunkedParts& parts, const Tables& tables, LocalFiles& files, const Cancellation& cancellation,
               ExpansionLimit& looked_at, ChunkedPlan& plan) {
    if (tables.digest(parts.table).hex() != parts.table_digest.hex())
        throw Error(ErrorKind::digest_mismatch,
                    "the table of contents does not have the digest that the manifest says");
    TableText text(tables, parts.table);
    const auto split_digest = read_table(text, [&](TableFile& file) {
        cancellation.check();
        if (file.end > parts.table.offset) throw Error(ErrorKind::corrupt_input, "a file is behind the table");
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

class AssembledStream : public StoppableSource {
public:
    AssembledStream(AssembledTar& tar, BlobParts& parts) : tar_(tar), parts_(parts) {}
    std::size_t read(std::span<std::byte> buffer) override { return tar_.read(buffer); }
    void stop() override { parts_.stop(); }

private:
    AssembledTar& tar_;
    BlobParts& parts_;
};

}  // namespace

std::optional<StagedLayer> import_chunked_layer(LayerSource& source, const ImageLayer& layer,
                                                const DerivedLayerRules& rules, LocalFiles& files,
                                                const ChunkedHooks& hooks, ExpansionLimit& looked_at,
                                                ExpansionLimit& limit) {
    if (layer.blob.chunked.empty() || layer.blob.size < least_layer_bytes || !source.gives_parts()) return std::nullopt;
    const auto parts = chunked_parts(layer.blob);
    if (!parts || !Tables::are_together(*parts))
        throw Error(ErrorKind::unsupported_image, "its annotations name no table of contents with a tar-split");
    const auto taken = [&](std::size_t bytes) {
        limit.read(bytes);
        hooks.progress(bytes);
    };
    Tables tables(*parts);
    {
        BlobParts head(source, layer.blob, tables.ranges(), taken);
        tables.fetch(head);
        head.finish();
    }
    ChunkedPlan plan;
    make_plan(*parts, tables, files, source.cancellation(), looked_at, plan);
    files.release_directories();
    const auto ranges = plan.ranges(source.gives_several_parts() ? many_at_a_time : one_by_one);
    if (bytes_of(ranges) > layer.blob.size / 100 * most_percent) return std::nullopt;
    hooks.expect_bytes(bytes_of(tables.ranges()) + bytes_of(ranges));

    BlobParts blob(source, layer.blob, ranges, taken);
    WantedFrames frames(plan, ranges, blob);
    const auto contents = decompress(frames);
    TableText split(tables, parts->split);
    AssembledTar tar(split, plan, *contents, [&](const ChunkedPlan::File& file) {
        // As if they had been read.
        limit.read(static_cast<std::size_t>(file.end - file.offset));
        return files.open(file);
    });
    AssembledStream assembled(tar, blob);
    StagedLayer staged;
    staged.sink = hooks.make_sink();
    LayerStream stream(assembled, limit, LayerStream::Form::plain);
    require_diff_id(layer, read_layer(stream, layer, rules, limit, staged, hooks.early));
    staged.partial = true;
    return staged;
}

}  // namespace imaged
