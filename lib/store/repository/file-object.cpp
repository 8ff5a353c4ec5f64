// SPDX-License-Identifier: Apache-2.0
#include "store/repository/file-object.hpp"

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
    const VariantPtr owned_xattrs(xattrs);
    meta_.uid = g_file_info_get_attribute_uint32(info.get(), "unix::uid");
    meta_.gid = g_file_info_get_attribute_uint32(info.get(), "unix::gid");
    meta_.mode = g_file_info_get_attribute_uint32(info.get(), "unix::mode");
    if (xattrs != nullptr && g_variant_n_children(xattrs) > 0)
        meta_.xattrs = Xattrs(g_variant_ref(xattrs), g_variant_unref);
    symlink_ = g_file_info_get_file_type(info.get()) == G_FILE_TYPE_SYMBOLIC_LINK;
    if (symlink_) {
        const char* target = g_file_info_get_symlink_target(info.get());
        target_ = target == nullptr ? "" : target;
    } else {
        size_ = static_cast<std::uint64_t>(g_file_info_get_size(info.get()));
    }
}

int FileObject::content_fd() const {
    return content_ && G_IS_FILE_DESCRIPTOR_BASED(content_.get())
               ? g_file_descriptor_based_get_fd(G_FILE_DESCRIPTOR_BASED(content_.get()))
               : -1;
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
