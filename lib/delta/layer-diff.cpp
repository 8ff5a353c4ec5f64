// SPDX-License-Identifier: Apache-2.0
#include "delta/layer-diff.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "base/bounded-queue.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/task-group.hpp"
#include "base/tree-path.hpp"
#include "delta/block-match.hpp"
#include "layer/byte-source.hpp"
#include "layer/tar-reader.hpp"

namespace imaged::delta {

namespace {

constexpr std::size_t read_buffer_bytes = 256 * 1024;
// Below this, to name a file costs as much as its bytes.
constexpr std::uint64_t least_file_bytes = 64;
// One frame with a prefix makes at most this: what its reader holds in memory.
constexpr std::uint64_t derived_piece_bytes = 8ULL * 1024 * 1024;
// A larger file is no prefix: each piece would have all of it indexed again. imaged applies no larger one either.
constexpr std::uint64_t max_own_prefix_bytes = 16ULL * 1024 * 1024;
// If matches leave less than this part of a piece, or so few bytes, no frame is tried: it takes several times as
// long, and is rarely smaller.
constexpr std::uint64_t good_match = 6, least_frame_bytes = 256;
// What two operations for a match take, about.
constexpr std::uint64_t bytes_of_match = 3;
// Bytes of the layer whose operations are made but not written yet, and what one that is not made counts.
constexpr std::size_t max_ahead_bytes = 16 * 1024 * 1024, part_bytes = 512;

void read_exactly(int file, std::uint64_t offset, std::span<std::byte> buffer, const char* what) {
    if (read_at(file, offset, buffer, what) < buffer.size())
        throw Error(ErrorKind::failed, std::string(what) + " became shorter while it was read");
}
constexpr const char* layer_name = "the layer";
constexpr const char* source_name = "a file of the source image";

// The tar in the file, for TarReader.
class TarFile : public ByteSource {
public:
    TarFile(int file, std::uint64_t size, const Cancellation& cancellation)
        : file_(file), size_(size), cancellation_(cancellation) {}
    std::size_t read(std::span<std::byte> buffer) override {
        cancellation_.check();
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size_ - offset_));
        read_exactly(file_, offset_, buffer.first(count), layer_name);
        offset_ += count;
        return count;
    }

private:
    const int file_;
    const std::uint64_t size_;
    const Cancellation& cancellation_;
    std::uint64_t offset_ = 0;
};

// What makes a part of the layer.
struct Copy {
    SourceIndex::Number file;
    std::uint64_t offset, size;
};
// A part of a file that another version of it makes: by a frame whose prefix that is, or else by matches.
struct Derivation {
    std::vector<std::byte> frame;
    std::vector<Match> matches;
};
struct Derived {
    SourceIndex::Number file;
    std::future<Derivation> made;
    std::uint64_t offset, size;  // in the layer
};
struct Range {
    std::uint64_t offset, size;
};
using Part = std::variant<Range, Copy, Derived>;

// A regular file of the layer, and what is known of it.
struct Member {
    std::string path;
    std::uint64_t offset, size;
    std::string linked_as;  // a path that a hard link to it has
};

class LayerDiff {
public:
    LayerDiff(int tar, std::uint64_t size, SourceIndex& sources, DeltaWorkers& workers, TarDiffVersion version,
              ByteSink& sink, const Cancellation& cancellation)
        : tar_(tar),
          size_(size),
          sources_(sources),
          workers_(workers),
          version_(version),
          cancellation_(cancellation),
          writer_(sink, version),
          ours_(read_buffer_bytes),
          theirs_(read_buffer_bytes) {}

    LayerDiffCounts run() {
        auto written = std::async(std::launch::async, [this] { write_parts(); });
        std::exception_ptr failure;
        try {
            find_parts();
        } catch (...) {
            failure = std::current_exception();
            abandoned_ = true;
        }
        parts_.close();
        written.wait();
        tasks_.wait();
        written.get();
        if (failure) std::rethrow_exception(failure);
        writer_.finish();
        if (writer_.made() != size_)
            throw Error(ErrorKind::failed, "the delta makes " + std::to_string(writer_.made()) +
                                               " bytes of a layer of " + std::to_string(size_));
        return counts_;
    }

private:
    // The writer has failed; it says why.
    struct Stopped {};

    void find_parts() {
        try {
            TarFile file(tar_, size_, cancellation_);
            TarReader reader(file);
            std::optional<Member> member;
            while (const auto entry = reader.next()) {
                if (entry->type == EntryType::hardlink) {
                    if (member && join_path(entry->link) == member->path && member->linked_as.empty())
                        member->linked_as = join_path(entry->path);
                    continue;
                }
                if (member) add(*std::exchange(member, std::nullopt));
                if (entry->type == EntryType::file && entry->size >= least_file_bytes)
                    member = Member{join_path(entry->path), reader.content_offset(), entry->size, {}};
            }
            if (member) add(*member);
            add_data(size_);
        } catch (const Stopped&) {
        }
    }

    // What is before END and was not made of anything.
    void add_data(std::uint64_t end) {
        while (done_ < end) {
            const auto count = std::min<std::uint64_t>(end - done_, derived_piece_bytes);
            push(Range{done_, count}, 0);
            counts_.data += count;
            done_ += count;
        }
    }

    void push(Part part, std::uint64_t weight) {
        if (!parts_.push(std::move(part), static_cast<std::size_t>(weight) + part_bytes)) throw Stopped();
    }

    void add(const Member& member) {
        // The map of a sparse file or a header that lies: then its bytes are data.
        if (member.offset < done_ || member.offset > size_ || member.size > size_ - member.offset) return;
        cancellation_.check();
        const auto& path = member.linked_as.empty() ? member.path : member.linked_as;
        auto older = sources_.at(member.path);
        if (!older && !member.linked_as.empty()) older = sources_.at(path);
        if (older && add_if_equal(member, *older)) return;
        if (const auto same = with_same_content(member); same && add_if_equal(member, *same)) return;
        if (!older) older = sources_.like(path, member.size);
        if (older) add_derived(member, *older);
    }

    std::optional<SourceIndex::Number> with_same_content(const Member& member) {
        if (!sources_.has_size(member.size)) return std::nullopt;
        Sha256 hash;
        for (std::uint64_t done = 0; done < member.size;) {
            cancellation_.check();
            const auto piece = std::span(ours_).first(
                static_cast<std::size_t>(std::min<std::uint64_t>(member.size - done, ours_.size())));
            read_exactly(tar_, member.offset + done, piece, layer_name);
            hash.update(piece);
            done += piece.size();
        }
        return sources_.with_content(member.size, hash.finish());
    }

    bool add_if_equal(const Member& member, SourceIndex::Number older) {
        const auto file = sources_.open(older);
        if (!file.fd || file.size != member.size) return false;
        for (std::uint64_t done = 0; done < member.size;) {
            cancellation_.check();
            const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(member.size - done, ours_.size()));
            read_exactly(tar_, member.offset + done, std::span(ours_).first(count), layer_name);
            read_exactly(file.fd.get(), done, std::span(theirs_).first(count), source_name);
            if (std::memcmp(ours_.data(), theirs_.data(), count) != 0) return false;
            done += count;
        }
        add_data(member.offset);
        push(Copy{older, 0, member.size}, 0);
        counts_.copied += member.size;
        done_ = member.offset + member.size;
        return true;
    }

    // Of what all parts of one file share: its older version, indexed by the first task that needs it.
    struct Older {
        SourceIndex::File file;
        std::once_flag once;
        std::optional<BlockIndex> index;
    };

    void add_derived(const Member& member, SourceIndex::Number number) {
        auto older = std::make_shared<Older>();
        // A damaged file does not equal a file of the layer, but could be what that is made of.
        older->file = sources_.open_sound(number);
        if (!older->file.fd || older->file.size == 0) return;
        add_data(member.offset);
        for (std::uint64_t done = 0; done < member.size;) {
            const auto count = std::min<std::uint64_t>(member.size - done, derived_piece_bytes);
            push(Derived{number, derive(older, member.offset + done, count), member.offset + done, count}, count);
            done += count;
        }
        counts_.derived += member.size;
        done_ = member.offset + member.size;
    }

    // TASK for the workers, which uses this object until it has ended.
    template <typename Task>
    auto begin_task(std::uint64_t memory, Task task) {
        return workers_.run(memory, [member = tasks_.member(), task = std::move(task)](DeltaWorkers::Worker& worker) {
            return task(worker);
        });
    }

    std::future<Derivation> derive(const std::shared_ptr<Older>& older, std::uint64_t offset, std::uint64_t count) {
        // The content, its differences, and what both are packed to.
        const auto memory = BlockIndex::memory_for(older->file.size) + 3 * count;
        return begin_task(memory, [this, older, offset, count, memory](DeltaWorkers::Worker& worker) {
            Derivation made;
            if (abandoned_) return made;
            cancellation_.check();
            std::call_once(older->once,
                           [&] { older->index.emplace(older->file.fd.get(), older->file.size, cancellation_); });
            std::vector<std::byte> content(static_cast<std::size_t>(count));
            read_exactly(tar_, offset, content, layer_name);
            made.matches = older->index->match(content, cancellation_);
            const auto prefix = older->file.size;
            if (version_ == TarDiffVersion::v1 || prefix > max_own_prefix_bytes) return made;
            const auto matched = packed_size(made.matches, content, worker.frames());
            if (matched < least_frame_bytes || matched < count / good_match) return made;
            worker.need(memory + prefix + PrefixFrames::memory_for(prefix, count));
            std::vector<std::byte> bytes(static_cast<std::size_t>(prefix));
            read_exactly(older->file.fd.get(), 0, bytes, source_name);
            made.frame = worker.frames().compress(bytes, content);
            if (made.frame.size() < matched) {
                made.matches = {};
            } else {
                made.frame = {};
            }
            return made;
        });
    }

    // About what the operations for MATCHES take.
    static std::uint64_t packed_size(const std::vector<Match>& matches, std::span<const std::byte> content,
                                     PrefixFrames& frames) {
        std::vector<std::byte> bytes;
        std::size_t at = 0;
        for (const auto& match : matches) {
            const auto size = static_cast<std::size_t>(match.size);
            if (match.new_bytes) {
                bytes.insert(bytes.end(), content.begin() + static_cast<std::ptrdiff_t>(at),
                             content.begin() + static_cast<std::ptrdiff_t>(at + size));
            } else {
                bytes.insert(bytes.end(), match.differences.begin(), match.differences.end());
            }
            at += size;
        }
        return frames.size_alone(bytes) + matches.size() * bytes_of_match;
    }

    void write_parts() {
        try {
            while (auto part = parts_.pop()) {
                if (abandoned_) continue;
                std::visit([this](auto& made) { write(made); }, *part);
            }
        } catch (...) {
            abandoned_ = true;
            parts_.close();
            while (parts_.pop()) {
            }
            throw;
        }
    }
    void write(const Range& range) {
        if (copied_.empty()) copied_.resize(read_buffer_bytes);
        for (std::uint64_t done = 0; done < range.size;) {
            cancellation_.check();
            const auto piece = std::span(copied_).first(
                static_cast<std::size_t>(std::min<std::uint64_t>(range.size - done, copied_.size())));
            read_exactly(tar_, range.offset + done, piece, layer_name);
            writer_.data(piece);
            done += piece.size();
        }
    }
    void write(const Copy& copy) { writer_.copy(sources_.name(copy.file), copy.offset, copy.size); }
    void write(Derived& part) {
        const auto name = sources_.name(part.file);
        const auto made = part.made.get();
        if (!made.frame.empty()) return writer_.prefixed(name, made.frame, part.size);
        auto offset = part.offset;
        for (const auto& match : made.matches) {
            if (match.new_bytes) {
                write(Range{offset, match.size});
            } else if (match.differences.empty()) {
                writer_.copy(name, match.offset, match.size);
            } else {
                writer_.add(name, match.offset, match.differences);
            }
            offset += match.size;
        }
    }

    const int tar_;
    const std::uint64_t size_;
    SourceIndex& sources_;
    DeltaWorkers& workers_;
    const TarDiffVersion version_;
    const Cancellation& cancellation_;
    TarDiffWriter writer_;
    std::vector<std::byte> ours_, theirs_, copied_;
    std::uint64_t done_ = 0;
    LayerDiffCounts counts_;
    std::atomic<bool> abandoned_ = false;
    BoundedQueue<Part> parts_{max_ahead_bytes};
    TaskGroup tasks_;  // last: they use all of the above
};

}  // namespace

LayerDiffCounts write_layer_diff(int tar, std::uint64_t size, SourceIndex& sources, DeltaWorkers& workers,
                                 TarDiffVersion version, ByteSink& sink, const Cancellation& cancellation) {
    return LayerDiff(tar, size, sources, workers, version, sink, cancellation).run();
}

}  // namespace imaged::delta
