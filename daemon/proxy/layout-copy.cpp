// SPDX-License-Identifier: Apache-2.0
#include "layout-copy.hpp"

#include <fcntl.h>
#include <sys/sendfile.h>

#include <string>

#include "base/directory.hpp"
#include "base/error.hpp"

namespace imaged {

namespace {

// As much as is copied between two looks whether anybody still wants it.
constexpr std::size_t piece_bytes = 16 * 1024 * 1024;
constexpr const char* blobs = "blobs/sha256";

void copy_file(int layout, const std::string& name, const std::filesystem::path& copy,
               const std::function<void()>& progress) {
    const auto from = open_file(layout, name, O_NOFOLLOW);
    const auto to = open_at(AT_FDCWD, copy / name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    for (;;) {
        progress();
        const auto count = ::sendfile(to.get(), from.get(), nullptr, piece_bytes);
        if (count < 0) throw_errno("copy the layout");
        if (count == 0) return;
    }
}

}  // namespace

LayoutCopy::LayoutCopy(int layout, const std::function<void()>& progress) {
    std::filesystem::create_directories(path() / blobs);
    copy_file(layout, "oci-layout", path(), progress);
    copy_file(layout, "index.json", path(), progress);
    visit_directory(
        open_at(layout, blobs, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), blobs,
        [&](const DirectoryEntry& blob) { copy_file(layout, std::string(blobs) + "/" + blob.name, path(), progress); });
}

}  // namespace imaged
