// SPDX-License-Identifier: Apache-2.0
#include "layer/tar-reader.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <glib.h>

#include <algorithm>
#include <array>
#include <exception>
#include <map>

#include "base/error.hpp"
#include "layer/tar-framing.hpp"

namespace imaged {

namespace {

constexpr std::size_t read_bytes = 256 * 1024;
constexpr std::array<std::byte, 65536> hole_zeros{};

[[noreturn]] void corrupt_tar(const std::string& what) {
    throw Error(ErrorKind::corrupt_input, what);
}
[[noreturn]] void over_tar_limit(const std::string& what) {
    throw Error(ErrorKind::unsupported_image, what);
}

// Text for a message: short, and without anything that a terminal acts on.
std::string shown(std::string_view path) {
    std::string text(path.substr(0, 200));
    for (auto& character : text) {
        if (static_cast<unsigned char>(character) < 0x20 || character == 0x7f) character = '?';
    }
    return "\"" + text + "\"";
}

// The components of a path that anybody may have written.
std::vector<std::string> parse_path(std::string_view path) {
    if (path.size() > max_path_bytes)
        over_tar_limit("path " + shown(path) + "… is longer than " + std::to_string(max_path_bytes) + " bytes");
    auto components = split_path(path);
    for (const auto& component : components) {
        if (component == "..") corrupt_tar("path " + shown(path) + " has a \"..\"");
        if (component.size() > max_name_bytes)
            over_tar_limit("path " + shown(path) + " has a name longer than " + std::to_string(max_name_bytes) +
                           " bytes");
    }
    if (components.size() > max_path_depth)
        over_tar_limit("path " + shown(path) + " is deeper than " + std::to_string(max_path_depth) + " levels");
    return components;
}

std::uint32_t narrow_id(la_int64_t id, const char* what, std::string_view path) {
    // (uid_t)-1 means "leave as it is" to chown(2).
    if (id < 0 || id >= 0xffffffffLL)
        corrupt_tar(shown(path) + " has the impossible " + what + " " + std::to_string(id));
    return static_cast<std::uint32_t>(id);
}

}  // namespace

class TarReader::Impl {
public:
    Impl(ByteSource& source, ExpansionLimit* limit)
        : source_(source), limit_(limit), buffer_(read_bytes), archive_(archive_read_new()) {
        if (!archive_) throw Error(ErrorKind::failed, "libarchive cannot start");
        archive_read_support_format_tar(archive_.get());
    }

    std::optional<TarEntry> next() {
        if (!opened_) {
            opened_ = true;
            first_piece_ = source_.next_piece(buffer_);
            // libarchive knows no empty stream as tar; an empty layer is one.
            finished_ = first_piece_->empty();
            if (finished_) return std::nullopt;
            check(archive_read_open(archive_.get(), this, nullptr, &Impl::on_read, nullptr), "open the tar stream");
        }
        if (finished_) return std::nullopt;
        content_offset_ = 0;
        archive_entry* entry = nullptr;
        const int status = archive_read_next_header(archive_.get(), &entry);
        const auto begin = static_cast<std::uint64_t>(archive_read_header_position(archive_.get()));
        if (status == ARCHIVE_EOF) {
            if (const auto zeros = framing_.lone_zeros(); zeros && *zeros >= begin)
                corrupt_tar("a block of zeros, which ends an archive, and more of the archive behind it, at byte " +
                            std::to_string(*zeros) + " of the uncompressed stream");
            return std::nullopt;
        }
        if (status != ARCHIVE_WARN) check(status, "tar header");
        rethrow();
        if (++entries_ > max_layer_entries)
            over_tar_limit("more than the limit of " + std::to_string(max_layer_entries) + " entries in one layer");
        return convert(entry, framing_.header_at(begin));
    }

    std::span<const std::byte> content() {
        if (hole_left_ > 0) return take_zeros();
        if (block_size_ == 0) {
            const void* block = nullptr;
            la_int64_t offset = 0;
            const int status = archive_read_data_block(archive_.get(), &block, &block_size_, &offset);
            rethrow();
            if (status == ARCHIVE_EOF) {
                // A sparse file may end in a hole.
                block_size_ = 0;
                if (content_offset_ >= entry_size_) return {};
                hole_left_ = entry_size_ - content_offset_;
                return begin_hole();
            }
            if (status != ARCHIVE_WARN && status != ARCHIVE_OK && ended_ && content_offset_ == entry_size_) {
                // Every byte of the last file is here; some tools leave out the padding behind it, and the end marker.
                finished_ = true;
                block_size_ = 0;
                return {};
            }
            if (status != ARCHIVE_WARN) check(status, "tar content");
            block_ = static_cast<const std::byte*>(block);
            if (offset < 0 || static_cast<std::uint64_t>(offset) < content_offset_)
                corrupt_tar("the map of a sparse file is not in ascending order" + position());
            hole_left_ = static_cast<std::uint64_t>(offset) - content_offset_;
            if (hole_left_ > 0) return begin_hole();
            if (block_size_ == 0) return content();
        }
        const std::span piece(block_, block_size_);
        content_offset_ += block_size_;
        block_size_ = 0;
        return piece;
    }

    void leave_out(std::uint64_t count) {
        if (limit_ != nullptr) limit_->leave_out(count);
    }
    std::uint64_t content_offset() const {
        // What libarchive has taken of what it was given.
        return static_cast<std::uint64_t>(archive_filter_bytes(archive_.get(), 0));
    }
    FileDescriptor content_file() { return source_.file_at(content_offset()); }
    std::uint64_t offset() const { return read_; }

private:
    static la_ssize_t on_read(archive* archive, void* self, const void** buffer) {
        // No exception may cross libarchive's frames: it is kept and thrown again behind them.
        auto& impl = *static_cast<Impl*>(self);
        try {
            const auto piece = impl.next_bytes();
            *buffer = piece.data();
            return static_cast<la_ssize_t>(piece.size());
        } catch (...) {
            impl.failure_ = std::current_exception();
            archive_set_error(archive, EIO, "the source failed");
            return ARCHIVE_FATAL;
        }
    }

    std::span<const std::byte> next_bytes() {
        for (;;) {
            const auto piece = first_piece_ ? *std::exchange(first_piece_, std::nullopt) : source_.next_piece(buffer_);
            read_ += piece.size();
            ended_ = piece.empty();
            const auto bytes = framing_.take(piece);
            if (ended_ || !bytes.empty()) return bytes;
        }
    }

    void rethrow() {
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

    void check(int status, const char* what) {
        rethrow();
        if (status == ARCHIVE_OK) return;
        const char* message = archive_error_string(archive_.get());
        const std::string text = message != nullptr ? message : "unknown error";
        if (text == "Unrecognized archive format")
            corrupt_tar("the layer is no tar, nor one that gzip, zstd, xz or bzip2 has compressed");
        corrupt_tar(std::string(what) + ": " + text + position());
    }

    std::string position() const { return " at byte " + std::to_string(read_) + " of the uncompressed stream"; }

    std::span<const std::byte> begin_hole() {
        if (limit_ != nullptr) limit_->check_hole(hole_left_);
        return take_zeros();
    }

    std::span<const std::byte> take_zeros() {
        const auto count = std::min<std::uint64_t>(hole_left_, hole_zeros.size());
        if (limit_ != nullptr) limit_->grow(count);
        hole_left_ -= count;
        content_offset_ += count;
        return std::span(hole_zeros).first(static_cast<std::size_t>(count));
    }

    TarEntry convert(archive_entry* entry, const std::optional<TarFraming::Header>& header) {
        TarEntry result;
        const char* path = archive_entry_pathname(entry);
        if (path == nullptr) corrupt_tar("a name that cannot be read" + position());
        if (header && header->nul_in_name) corrupt_tar(shown(path) + " is cut short by a NUL in its pax header");
        if (header && header->malformed) corrupt_tar("the pax header of " + shown(path) + " is malformed");
        result.path = parse_path(path);
        result.utf8 = g_utf8_validate(path, -1, nullptr) != FALSE;
        // libarchive has put what an ACL says in its place.
        result.mode = header ? header->mode : static_cast<std::uint32_t>(archive_entry_perm(entry)) & 07777;
        const auto size = archive_entry_size(entry);
        if (size < 0) corrupt_tar(shown(path) + " has a negative size");
        result.size = entry_size_ = static_cast<std::uint64_t>(size);
        hole_left_ = 0;
        block_size_ = 0;
        if (const char* link = archive_entry_hardlink(entry)) {
            result.type = EntryType::hardlink;
            result.link = in_context("hard link " + shown(path), [&] { return parse_path(link); });
            entry_size_ = 0;
            return result;
        }
        result.uid = narrow_id(archive_entry_uid(entry), "uid", path);
        result.gid = narrow_id(archive_entry_gid(entry), "gid", path);
        switch (archive_entry_filetype(entry)) {
            case AE_IFREG: result.type = EntryType::file; break;
            case AE_IFDIR: result.type = EntryType::directory; break;
            case AE_IFLNK: {
                result.type = EntryType::symlink;
                const char* target = archive_entry_symlink(entry);
                if (target == nullptr || *target == '\0')
                    corrupt_tar("symbolic link " + shown(path) + " has no target");
                result.target = target;
                result.target_utf8 = g_utf8_validate(target, -1, nullptr) != FALSE;
                if (result.target.size() >= max_path_bytes)
                    over_tar_limit("symbolic link " + shown(path) + " has a target that is too long");
                break;
            }
            default: result.type = EntryType::special; break;
        }
        if (result.type != EntryType::file) entry_size_ = 0;
        read_xattrs(entry, result);
        return result;
    }

    static void read_xattrs(archive_entry* entry, TarEntry& result) {
        for (const int type : {ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT})
            result.acls += (archive_entry_acl_types(entry) & type) != 0 ? 1 : 0;
        result.acls += (archive_entry_acl_types(entry) & ARCHIVE_ENTRY_ACL_TYPE_NFS4) != 0 ? 1 : 0;
        if (archive_entry_xattr_reset(entry) == 0) return;
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        // libarchive gives them last one first; of two of one name the last one counts.
        std::map<std::string, std::string> xattrs;
        while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
            if (name != nullptr && *name != '\0')
                xattrs.emplace(name, std::string(static_cast<const char*>(value), size));
        }
        result.xattrs.assign(xattrs.begin(), xattrs.end());
    }

    struct FreeArchive {
        void operator()(archive* pointer) const { archive_read_free(pointer); }
    };
    ByteSource& source_;
    ExpansionLimit* const limit_;
    std::vector<std::byte> buffer_;
    std::unique_ptr<archive, FreeArchive> archive_;
    TarFraming framing_;
    std::exception_ptr failure_;
    bool opened_ = false;
    bool ended_ = false;                                     // the source has nothing more
    bool finished_ = false;                                  // the archive has nothing more
    std::optional<std::span<const std::byte>> first_piece_;  // until libarchive took it
    std::uint64_t read_ = 0;
    std::size_t entries_ = 0;
    std::uint64_t entry_size_ = 0, content_offset_ = 0, hole_left_ = 0;
    const std::byte* block_ = nullptr;
    std::size_t block_size_ = 0;
};

TarReader::TarReader(ByteSource& source, ExpansionLimit* limit) : impl_(std::make_unique<Impl>(source, limit)) {}
TarReader::~TarReader() = default;
std::optional<TarEntry> TarReader::next() {
    return impl_->next();
}
std::span<const std::byte> TarReader::content() {
    return impl_->content();
}
void TarReader::leave_out(std::uint64_t count) {
    impl_->leave_out(count);
}
std::uint64_t TarReader::content_offset() const {
    return impl_->content_offset();
}
FileDescriptor TarReader::content_file() {
    return impl_->content_file();
}
std::uint64_t TarReader::offset() const {
    return impl_->offset();
}

}  // namespace imaged
