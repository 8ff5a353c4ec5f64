// SPDX-License-Identifier: Apache-2.0
#include "layer/libostree-sink.hpp"

#include <fcntl.h>
#include <gio/gunixinputstream.h>
#include <unistd.h>

#include <cstring>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/hex-byte.hpp"
#include "layer/metadata-limit.hpp"
#include "layer/pipe-object.hpp"
#include "layer/sparse-writer.hpp"

namespace imaged {

namespace {

constexpr const char* repository_name = "repository";
constexpr const char* repository_objects = "repository/objects";
constexpr const char* first_directory = "0";

// An archive repository in DIRECTORY, configured as REAL is, which is its parent.
GObjectPtr<OstreeRepo> make_repository(OstreeRepo* real, int directory) {
    ErrorSlot error;
    {
        const auto made = imaged::adopt(
            ostree_repo_create_at(directory, repository_name, OSTREE_REPO_MODE_ARCHIVE, nullptr, nullptr, error.out()));
        error.check(made != nullptr, "make a repository for staged objects");
        const std::unique_ptr<GKeyFile, Free<g_key_file_unref>> config(ostree_repo_copy_config(real));
        const CharPtr path(g_file_get_path(ostree_repo_get_path(real)));
        g_key_file_set_string(config.get(), "core", "parent", path.get());
        // The real one's are looked at where it matters.
        g_key_file_set_string(config.get(), "core", "fsync", "false");
        g_key_file_remove_key(config.get(), "core", "min-free-space-size", nullptr);
        g_key_file_set_string(config.get(), "core", "min-free-space-percent", "0");
        error.check(ostree_repo_write_config(made.get(), config.get(), error.out()), "configure staged objects");
    }
    auto repository = imaged::adopt(ostree_repo_open_at(directory, repository_name, nullptr, error.out()));
    error.check(repository != nullptr, "open the repository of staged objects");
    return repository;
}

const char* variant_type(ObjectType type) {
    switch (type) {
        case ObjectType::dirtree: return "(a(say)a(sayay))";
        case ObjectType::dirmeta: return "(uuua(ayay))";
        default: return "(a{sv}aya(say)sstayay)";
    }
}

Checksum expect_checksum(const char* hex) {
    const auto checksum = Checksum::from_hex(hex);
    if (!checksum) throw Error(ErrorKind::failed, "libostree returned no checksum");
    return *checksum;
}

}  // namespace

OstreeObjectType libostree_type(ObjectType type) {
    switch (type) {
        case ObjectType::file: return OSTREE_OBJECT_TYPE_FILE;
        case ObjectType::dirtree: return OSTREE_OBJECT_TYPE_DIR_TREE;
        case ObjectType::dirmeta: return OSTREE_OBJECT_TYPE_DIR_META;
        case ObjectType::commit: return OSTREE_OBJECT_TYPE_COMMIT;
    }
    return OSTREE_OBJECT_TYPE_FILE;
}

LibostreeSink::LibostreeSink(OstreeRepo* repository, int objects, StagingArea& staging)
    : objects_directory_(objects),
      scratch_(staging.make_scratch()),
      repository_(make_repository(repository, scratch_->fd())) {
    unsigned number = 0;
    scratch_->make_directory(number);
    ErrorSlot error;
    error.check(ostree_repo_prepare_transaction(repository_.get(), nullptr, nullptr, error.out()),
                "start a transaction");
    open_ = true;
}

LibostreeSink::LibostreeSink(int objects, std::shared_ptr<Scratch> scratch, OstreeRepo* repository)
    : objects_directory_(objects),
      scratch_(std::move(scratch)),
      repository_(static_cast<OstreeRepo*>(g_object_ref(repository))) {}

LibostreeSink::~LibostreeSink() {
    if (open_) ostree_repo_abort_transaction(repository_.get(), nullptr, nullptr);
}

Checksum LibostreeSink::write_content(const FileMeta& meta, GInputStream* content, std::uint64_t size) {
    const auto info = imaged::adopt(g_file_info_new());
    g_file_info_set_file_type(info.get(), G_FILE_TYPE_REGULAR);
    g_file_info_set_size(info.get(), static_cast<goffset>(size));
    g_file_info_set_attribute_uint32(info.get(), "unix::uid", meta.uid);
    g_file_info_set_attribute_uint32(info.get(), "unix::gid", meta.gid);
    g_file_info_set_attribute_uint32(info.get(), "unix::mode", meta.mode);
    ErrorSlot error;
    GInputStream* framed = nullptr;
    guint64 length = 0;
    error.check(ostree_raw_file_to_content_stream(content, info.get(), meta.xattrs.get(), &framed, &length, nullptr,
                                                  error.out()),
                "write an object");
    const auto stream = imaged::adopt(framed);
    guchar* binary = nullptr;
    error.check(
        ostree_repo_write_content(repository_.get(), nullptr, stream.get(), length, &binary, nullptr, error.out()),
        "write an object");
    const std::unique_ptr<guchar, Free<g_free>> owner(binary);
    Checksum checksum;
    std::memcpy(checksum.bytes.data(), binary, checksum.bytes.size());
    objects_.add(checksum, ObjectType::file);
    ++counts_.objects_written;
    counts_.bytes_written += size;
    return checksum;
}

// libostree reads content from a stream, so a large file is spooled first.
class LibostreeSink::Large : public ObjectSink::LargeFile {
public:
    Large(LibostreeSink& sink, const FileMeta& meta, std::uint64_t size)
        : sink_(sink),
          meta_(meta),
          size_(size),
          spool_(open_at(ostree_repo_get_dfd(sink.repository_.get()), "tmp", O_TMPFILE | O_RDWR, 0600)) {}
    std::uint64_t append(std::span<const std::byte> piece) override {
        if (piece.size() > size_ - writer_.size())
            throw Error(ErrorKind::corrupt_input, "a file has more bytes than its header says");
        const auto hole = writer_.append(piece);
        return hole;
    }
    Checksum finish() override {
        writer_.finish();
        if (writer_.size() != size_)
            throw Error(ErrorKind::corrupt_input, "a file has another size than its header says");
        if (::lseek(spool_.get(), 0, SEEK_SET) != 0) throw_errno("read an object back");
        const auto stream = imaged::adopt(g_unix_input_stream_new(spool_.get(), FALSE));
        return sink_.write_content(meta_, stream.get(), size_);
    }

private:
    LibostreeSink& sink_;
    const FileMeta meta_;
    const std::uint64_t size_;
    FileDescriptor spool_;
    SparseWriter writer_{spool_.get()};
};

Checksum LibostreeSink::put_file(const FileMeta& meta, std::vector<std::byte> content) {
    const auto stream = imaged::adopt(
        g_memory_input_stream_new_from_data(content.data(), static_cast<gssize>(content.size()), nullptr));
    return write_content(meta, stream.get(), content.size());
}

Checksum LibostreeSink::put_symlink(const FileMeta& meta, const std::string& target) {
    ErrorSlot error;
    const CharPtr checksum(ostree_repo_write_symlink(repository_.get(), nullptr, meta.uid, meta.gid, meta.xattrs.get(),
                                                     target.c_str(), nullptr, error.out()));
    error.check(checksum != nullptr, "write a symbolic link");
    ++counts_.objects_written;
    const auto written = expect_checksum(checksum.get());
    objects_.add(written, ObjectType::file);
    return written;
}

Checksum LibostreeSink::put_metadata(ObjectType type, std::string_view bytes) {
    check_metadata_size(type, bytes.size());
    const auto checksum = sha256(bytes);
    const auto variant = parse_variant(G_VARIANT_TYPE(variant_type(type)), bytes);
    ErrorSlot error;
    error.check(ostree_repo_write_metadata(repository_.get(), libostree_type(type), checksum.hex().c_str(),
                                           variant.get(), nullptr, nullptr, error.out()),
                "write an object");
    objects_.add(checksum, type);
    ++counts_.objects_written;
    return checksum;
}

std::unique_ptr<ObjectSink::LargeFile> LibostreeSink::begin_large(const FileMeta& meta, std::uint64_t size) {
    return std::make_unique<Large>(*this, meta, size);
}

std::string LibostreeSink::read_metadata(ObjectType type, const Checksum& checksum) {
    require_no_pipe(objects_directory_, checksum, "." + std::string(suffix(type)));
    ErrorSlot error;
    GVariant* loaded = nullptr;
    if (ostree_repo_load_variant(repository_.get(), libostree_type(type), checksum.hex().c_str(), &loaded,
                                 error.out()) == FALSE)
        throw Error(ErrorKind::repository_damaged,
                    "object " + checksum.hex() + "." + std::string(suffix(type)) + " is missing or unreadable");
    const VariantPtr variant(loaded);
    return bytes_of(loaded);
}

GObjectPtr<GFileInfo> LibostreeSink::file_info(const Checksum& checksum) const {
    require_no_pipe(objects_directory_, checksum, ".filez");
    ErrorSlot error;
    GFileInfo* loaded = nullptr;
    if (ostree_repo_load_file(repository_.get(), checksum.hex().c_str(), nullptr, &loaded, nullptr, nullptr,
                              error.out()) == FALSE)
        throw Error(ErrorKind::repository_damaged, "object " + checksum.hex() + ".file is missing or unreadable");
    return GObjectPtr<GFileInfo>(loaded);
}

std::optional<std::string> LibostreeSink::read_symlink(const Checksum& checksum) {
    const auto info = file_info(checksum);
    const char* target = g_file_info_get_symlink_target(info.get());
    if (target == nullptr) return std::nullopt;
    return target;
}

std::optional<std::uint64_t> LibostreeSink::file_size(const Checksum& checksum) {
    const auto info = file_info(checksum);
    if (g_file_info_get_file_type(info.get()) != G_FILE_TYPE_REGULAR) return std::nullopt;
    return static_cast<std::uint64_t>(g_file_info_get_size(info.get()));
}

bool LibostreeSink::has_object(const Checksum& checksum, ObjectType type) const {
    ErrorSlot error;
    gboolean present = FALSE;
    error.check(ostree_repo_has_object(repository_.get(), libostree_type(type), checksum.hex().c_str(), &present,
                                       nullptr, error.out()),
                "look for an object");
    return present != FALSE;
}

// Gives the objects the names that they have in a scratch directory.
void LibostreeSink::collect() const {
    const auto own = open_at(scratch_->fd(), repository_objects, O_RDONLY | O_DIRECTORY),
               to = open_at(scratch_->fd(), first_directory, O_PATH | O_DIRECTORY);
    for (unsigned prefix = 0; prefix < 256; ++prefix) {
        const auto start = hex_byte(prefix);
        visit_directory(try_open_at(own.get(), start, O_RDONLY | O_DIRECTORY), "staged objects",
                        [&](const DirectoryEntry& entry) {
                            const auto name = start + entry.name;
                            if (::renameat(entry.directory, entry.name, to.get(), name.c_str()) != 0)
                                throw_errno("name an object");
                        });
    }
}

void LibostreeSink::publish(const std::function<void()>& before_commits) {
    if (!open_) return;
    ErrorSlot error;
    error.check(ostree_repo_commit_transaction(repository_.get(), nullptr, nullptr, error.out()),
                "commit a transaction");
    open_ = false;
    repository_.reset();
    collect();
    objects_.publish(
        *scratch_, objects_directory_, [](const Checksum&) { return 0U; }, before_commits);
}

}  // namespace imaged
