// SPDX-License-Identifier: Apache-2.0
#include "delta/tar-diff-reader.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <semaphore>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "layer/compressed-input.hpp"
#include "layer/decompressor.hpp"
#include "oci/compression.hpp"

namespace imaged {

namespace {

using delta::Operation;

constexpr std::size_t max_varint_bytes = 10;
// A magic number, a byte that says what follows, and that at its longest.
constexpr std::size_t max_frame_header_bytes = 18;
constexpr std::size_t piece_of_source_bytes = 64 * 1024;

[[noreturn]] void refuse_diff(const std::string& why) {
    throw Error(ErrorKind::corrupt_input, "tar-diff: " + why);
}

[[noreturn]] void over_limit(const std::string& what, std::uint64_t limit) {
    throw Error(ErrorKind::unsupported_image,
                "tar-diff: " + what + " of more than the limit of " + std::to_string(limit));
}

// One at a time: several would take several times the memory. Released by whichever thread ends the reader.
std::binary_semaphore prefixed_operations(1);

class PrefixedTurn {
public:
    PrefixedTurn() { prefixed_operations.acquire(); }
    ~PrefixedTurn() { prefixed_operations.release(); }
    PrefixedTurn& operator=(PrefixedTurn&&) = delete;
};

// What is left of PACKED after the magic, which says the version.
class Operations : public ByteSource {
public:
    explicit Operations(ByteSource& packed) : packed_(packed) {
        std::array<std::byte, delta::version_1_magic.size()> head;
        const auto count = packed_.read(head);
        const std::string_view magic(reinterpret_cast<const char*>(head.data()), count);
        if (magic != delta::version_1_magic && magic != delta::version_2_magic)
            refuse_diff("it does not begin with what a tar-diff begins with");
        has_prefixes_ = magic == delta::version_2_magic;
        first_count_ = packed_.read(first_);
        const std::string_view first(reinterpret_cast<const char*>(first_.data()), first_count_);
        if (compression_of(first) != CompressionFormat::zstd) refuse_diff("its operations are no zstd stream");
    }

    bool has_prefixes() const { return has_prefixes_; }
    std::size_t read(std::span<std::byte> buffer) override {
        const auto count = std::min(first_count_ - given_, buffer.size());
        std::memcpy(buffer.data(), first_.data() + given_, count);
        given_ += count;
        return count < buffer.size() ? count + packed_.read(buffer.subspan(count)) : count;
    }

private:
    ByteSource& packed_;
    bool has_prefixes_ = false;
    std::array<std::byte, max_magic_bytes> first_;
    std::size_t first_count_ = 0, given_ = 0;
};

// The file that is open.
struct SourceFile {
    FileDescriptor file;
    std::uint64_t size = 0, position = 0;
    std::string name;

    void read(std::span<std::byte> buffer) {
        if (read_at(file.get(), position, buffer, "a file of the stored image") < buffer.size())
            refuse_diff("a file of the stored image ends early");
        position += buffer.size();
    }
};

// What its header says of a zstd frame (RFC 8878, "Frame_Header").
struct FrameHeader {
    std::uint64_t window = 0;
    std::optional<std::uint64_t> content;

    static FrameHeader read(std::span<const std::byte> bytes) {
        const auto number = [&](std::size_t at, std::size_t width) {
            if (bytes.size() < at + width) refuse_diff("a frame is cut off");
            std::uint64_t value = 0;
            for (std::size_t i = width; i > 0; --i)
                value = value << 8 | std::to_integer<std::uint64_t>(bytes[at + i - 1]);
            return value;
        };
        if (number(0, 4) != ZSTD_MAGICNUMBER) refuse_diff("what has a prefix is no zstd frame");
        const auto kind = number(4, 1);
        const bool single = (kind & 0x20) != 0;
        std::size_t at = 5;
        FrameHeader header;
        if (!single) {
            const auto code = number(at++, 1);
            const auto base = 1ull << (10 + (code >> 3));
            header.window = base + base / 8 * (code & 7);
        }
        constexpr std::array<std::size_t, 4> key_widths{0, 1, 2, 4}, size_widths{0, 2, 4, 8};
        at += key_widths[kind & 3];
        const auto width = kind >> 6 == 0 && single ? 1 : size_widths[kind >> 6];
        if (width > 0) header.content = number(at, width) + (width == 2 ? 256 : 0);
        if (single) header.window = *header.content;
        return header;
    }
};

struct FreeContext {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// A zstd frame whose prefix is a file.
class PrefixedFrame {
public:
    PrefixedFrame(SourceFile& source, const FrameHeader& header) : context_(ZSTD_createDCtx()) {
        if (source.size > delta::max_applied_prefix_bytes) over_limit("a prefix", delta::max_applied_prefix_bytes);
        const auto remembered = std::min(header.window, header.content.value_or(UINT64_MAX));
        if (remembered > delta::max_applied_window_bytes) {
            // The decoder takes memory for what it has put out, whatever the header says of the window.
            if (header.content || header.window > 1ull << delta::max_window_log)
                over_limit("a window", delta::max_applied_window_bytes);
            most_ = delta::max_applied_window_bytes;
        }
        prefix_.resize(static_cast<std::size_t>(source.size));
        source.position = 0;
        source.read(prefix_);
        if (!context_) throw Error(ErrorKind::failed, "zstd cannot start");
        ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, delta::max_window_log);
        ZSTD_DCtx_refPrefix(context_.get(), prefix_.data(), prefix_.size());
    }

    struct Step {
        std::size_t consumed, produced;
    };
    // Throws Error(corrupt_input) if nothing more follows than IN and the frame needs it.
    Step step(std::span<const std::byte> in, std::span<std::byte> out) {
        ZSTD_inBuffer from{in.data(), in.size(), 0};
        ZSTD_outBuffer to{out.data(), out.size(), 0};
        const auto status = ZSTD_decompressStream(context_.get(), &to, &from);
        if (ZSTD_isError(status) != 0)
            refuse_diff(std::string("a frame with a prefix is corrupt (") + ZSTD_getErrorName(status) + ")");
        produced_ += to.pos;
        if (produced_ > most_) over_limit("the output of a frame", most_);
        if (in.empty() && to.pos == 0 && status != 0) refuse_diff("a frame with a prefix is cut off");
        ended_ = status == 0;
        return {from.pos, to.pos};
    }
    bool ended() const { return ended_; }

private:
    const PrefixedTurn turn_;
    std::vector<std::byte> prefix_;
    const std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
    std::uint64_t most_ = UINT64_MAX, produced_ = 0;
    bool ended_ = false;
};

}  // namespace

struct TarDiffReader::State {
    State(ByteSource& packed, OpenFile open_file)
        : operations(packed), plain(decompress(operations)), input(*plain), open(std::move(open_file)) {}

    // Begins the next one. False at the end.
    bool next_operation() {
        const auto head = input.peek(1 + max_varint_bytes);
        if (head.empty()) return false;
        operation = static_cast<Operation>(head[0]);
        std::uint64_t size = 0;
        std::size_t at = 1;
        for (unsigned shift = 0;; shift += 7, ++at) {
            if (at == head.size()) refuse_diff("an operation is cut off");
            const auto bits = std::to_integer<std::uint64_t>(head[at] & std::byte{0x7f});
            if (shift > 63 || bits > UINT64_MAX >> shift) refuse_diff("a size is too large");
            size |= bits << shift;
            if ((head[at] & std::byte{0x80}) == std::byte{}) break;
        }
        input.consume(at + 1);
        begin(size);
        return true;
    }

    void begin(std::uint64_t size) {
        if (operation == Operation::open || operation == Operation::seek || size == 0) {
            if (++idle > max_idle_operations) over_limit("operations that produce nothing", max_idle_operations);
        }
        switch (operation) {
            case Operation::data: break;
            case Operation::open: open_source(size); return;
            case Operation::seek:
                if (size > current().size) refuse_diff("it seeks behind the end of a file");
                current().position = size;
                return;
            case Operation::add_data:
                if (size > delta::max_added_bytes) over_limit("one addition", delta::max_added_bytes);
                [[fallthrough]];
            case Operation::copy:
                if (size > current().size - current().position) refuse_diff("it copies behind the end of a file");
                break;
            case Operation::prefixed:
                if (!operations.has_prefixes()) refuse_diff("a frame with a prefix, which its version does not have");
                if (current().size > delta::max_prefix_bytes) over_limit("a prefix", delta::max_prefix_bytes);
                begin_frame(size);
                break;
            default: refuse_diff("an unknown operation " + std::to_string(static_cast<unsigned>(operation)));
        }
        left = size;
    }

    SourceFile& current() {
        if (!source.file) refuse_diff("it reads a file before it opens one");
        return source;
    }

    void open_source(std::uint64_t size) {
        if (size > delta::max_name_bytes) over_limit("a name", delta::max_name_bytes);
        if (++opened > max_opened_files) over_limit("opened files", max_opened_files);
        std::string name(static_cast<std::size_t>(size), '\0');
        for (std::size_t done = 0; done < name.size();) {
            const auto bytes = input.available();
            if (bytes.empty()) refuse_diff("a name is cut off");
            const auto count = std::min(bytes.size(), name.size() - done);
            std::memcpy(name.data() + done, bytes.data(), count);
            input.consume(count);
            done += count;
        }
        if (source.file && source.name == name) {
            source.position = 0;
            return;
        }
        source = {};
        auto file = open(name);
        struct stat status {};
        if (::fstat(file.get(), &status) != 0) throw_errno("look at a file of the stored image");
        source = {std::move(file), static_cast<std::uint64_t>(status.st_size), 0, std::move(name)};
    }

    void begin_frame(std::uint64_t size) {
        const auto head = input.peek(max_frame_header_bytes);
        frame.emplace(source, FrameHeader::read(head.first(std::min<std::uint64_t>(head.size(), size))));
    }

    // Some bytes of the current operation.
    std::size_t produce(std::span<std::byte> buffer) {
        if (frame) return produce_frame(buffer);
        buffer = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left)));
        if (operation == Operation::copy) {
            source.read(buffer);
        } else {
            const auto bytes = input.available();
            if (bytes.empty()) refuse_diff("the data of an operation is cut off");
            buffer = buffer.first(std::min(bytes.size(), buffer.size()));
            std::memcpy(buffer.data(), bytes.data(), buffer.size());
            input.consume(buffer.size());
            if (operation == Operation::add_data) add_source(buffer);
        }
        left -= buffer.size();
        return buffer.size();
    }

    void add_source(std::span<std::byte> sums) {
        while (!sums.empty()) {
            const auto bytes = std::span(piece).first(std::min(sums.size(), piece.size()));
            source.read(bytes);
            for (std::size_t i = 0; i < bytes.size(); ++i)
                sums[i] =
                    static_cast<std::byte>(std::to_integer<unsigned>(sums[i]) + std::to_integer<unsigned>(bytes[i]));
            sums = sums.subspan(bytes.size());
        }
    }

    std::size_t produce_frame(std::span<std::byte> buffer) {
        std::span<std::byte> bytes;
        if (left > 0) {
            bytes = input.available();
            if (bytes.empty()) refuse_diff("a frame with a prefix is cut off");
            bytes = bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), left)));
        }
        // What follows the frame in the operation means nothing.
        const auto step = frame->ended() ? PrefixedFrame::Step{bytes.size(), 0} : frame->step(bytes, buffer);
        input.consume(step.consumed);
        left -= step.consumed;
        if (frame->ended() && left == 0) frame.reset();
        return step.produced;
    }

    Operations operations;
    const std::unique_ptr<ByteSource> plain;
    CompressedInput input;  // of operations
    const OpenFile open;
    Operation operation{};
    std::uint64_t left = 0;  // of the current operation: bytes to produce, or of its frame
    std::uint64_t idle = 0, opened = 0;
    SourceFile source;
    std::optional<PrefixedFrame> frame;
    std::array<std::byte, piece_of_source_bytes> piece;
};

TarDiffReader::TarDiffReader(ByteSource& packed, OpenFile open)
    : state_(std::make_unique<State>(packed, std::move(open))) {}

TarDiffReader::~TarDiffReader() = default;

std::size_t TarDiffReader::read(std::span<std::byte> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        if (state_->left > 0 || state_->frame) {
            filled += state_->produce(buffer.subspan(filled));
        } else if (!state_->next_operation()) {
            break;
        }
    }
    return filled;
}

}  // namespace imaged
