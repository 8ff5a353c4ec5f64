// SPDX-License-Identifier: Apache-2.0
#include "layout-copy.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

// As much as is copied between two looks whether anybody still wants it.
constexpr std::size_t piece_bytes = 16 * 1024 * 1024;
constexpr const char* blobs = "blobs/sha256";

struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

std::vector<std::string> names_in(int layout, const char* directory) {
    auto opened = open_at(layout, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const std::unique_ptr<DIR, CloseDirectory> list(::fdopendir(opened.get()));
    if (!list) throw_errno("read the layout");
    opened.release();
    std::vector<std::string> names;
    while (const auto* entry = ::readdir(list.get())) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    return names;
}

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
    for (const auto& name : names_in(layout, blobs)) copy_file(layout, blobs + ("/" + name), path(), progress);
}

}  // namespace imaged
