// SPDX-License-Identifier: Apache-2.0
#include "store/objects/file-object.hpp"

#include <gio/gfiledescriptorbased.h>
#include <ostree.h>

#include "base/error.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

[[noreturn]] void damaged(const std::string& name, ErrorSlot& error) {
    try {
        error.raise("read it");
    } catch (const Error& cause) {
        throw as_damage(cause.with_context("object " + name));
    }
}

}  // namespace

FileMeta file_meta(GFileInfo* info, VariantPtr xattrs) {
    FileMeta meta;
    meta.uid = g_file_info_get_attribute_uint32(info, "unix::uid");
    meta.gid = g_file_info_get_attribute_uint32(info, "unix::gid");
    meta.mode = g_file_info_get_attribute_uint32(info, "unix::mode");
    if (xattrs && g_variant_n_children(xattrs.get()) > 0) meta.xattrs = Xattrs(xattrs.release(), g_variant_unref);
    return meta;
}

std::string symlink_target(GFileInfo* info) {
    const char* target = g_file_info_get_symlink_target(info);
    return target == nullptr ? "" : target;
}

FileObject::FileObject(const Repository& repository, const Checksum& checksum) : name_(checksum.hex() + ".file") {
    repository.require_no_pipe(checksum, repository.file_suffix());
    ErrorSlot error;
    GInputStream* stream = nullptr;
    GFileInfo* loaded = nullptr;
    GVariant* xattrs = nullptr;
    if (ostree_repo_load_file(repository.handle(), checksum.hex().c_str(), &stream, &loaded, &xattrs, nullptr,
                              error.out()) == FALSE)
        damaged(name_, error);
    content_ = adopt(stream);
    const auto info = adopt(loaded);
    meta_ = file_meta(info.get(), VariantPtr(xattrs));
    symlink_ = g_file_info_get_file_type(info.get()) == G_FILE_TYPE_SYMBOLIC_LINK;
    if (symlink_) {
        target_ = symlink_target(info.get());
    } else {
        size_ = static_cast<std::uint64_t>(g_file_info_get_size(info.get()));
    }
}

std::optional<int> FileObject::content_fd() const {
    if (!content_ || !G_IS_FILE_DESCRIPTOR_BASED(content_.get())) return std::nullopt;
    return g_file_descriptor_based_get_fd(G_FILE_DESCRIPTOR_BASED(content_.get()));
}

std::size_t FileObject::read(std::span<std::byte> buffer) {
    if (!content_ || buffer.empty()) return 0;
    ErrorSlot error;
    gsize size = 0;
    if (g_input_stream_read_all(content_.get(), buffer.data(), buffer.size(), &size, nullptr, error.out()) == FALSE)
        damaged(name_, error);
    return size;
}

std::string FileObject::read_whole(std::size_t limit) {
    std::string text(limit + 1, '\0');
    text.resize(read(std::as_writable_bytes(std::span(text))));
    if (text.size() > limit)
        throw Error(ErrorKind::unsupported_image, "it is larger than the limit of " + std::to_string(limit) + " bytes");
    return text;
}

}  // namespace imaged
