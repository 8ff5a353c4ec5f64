// SPDX-License-Identifier: Apache-2.0
// A file object of a repository in any mode: metadata, and the content to read.
//
// Belongs to one thread; borrows nothing once it is open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/checksum.hpp"
#include "base/glib.hpp"
#include "layer/object.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// Metadata of a file as libostree has them, in INFO and XATTRS (null for none).
FileMeta file_meta(GFileInfo* info, VariantPtr xattrs);
// The target of a symbolic link.
std::string symlink_target(GFileInfo* info);

class FileObject {
public:
    // Throws Error(repository_damaged) when the object is missing or cannot be read.
    FileObject(const Repository& repository, const Checksum& checksum);

    const FileMeta& meta() const { return meta_; }
    bool is_symlink() const { return symlink_; }
    const std::string& target() const { return target_; }  // of a symbolic link
    std::uint64_t size() const { return size_; }           // bytes of a regular file's content
    // The file that holds nothing but the content, if there is one: an archive repository has none. Borrowed.
    std::optional<int> content_fd() const;
    // Fills as much of BUFFER as there is: less than all of it only at the end.
    std::size_t read(std::span<std::byte> buffer);
    // All content that is left; throws Error(unsupported_image) for more than LIMIT bytes.
    std::string read_whole(std::size_t limit);

private:
    const std::string name_;
    FileMeta meta_;
    bool symlink_ = false;
    std::string target_;
    std::uint64_t size_ = 0;
    GObjectPtr<GInputStream> content_;
};

}  // namespace imaged
