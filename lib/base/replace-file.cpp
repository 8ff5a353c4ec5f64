// SPDX-License-Identifier: Apache-2.0
#include "base/replace-file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <span>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

void replace_file(int directory, const std::string& name, std::string_view text, Durability durability) {
    static std::atomic<unsigned> count = 0;
    const auto end = name.rfind('/') + 1;
    const auto parent = name.substr(0, end);
    const auto fresh =
        parent + "." + name.substr(end) + "." + std::to_string(::getpid()) + "-" + std::to_string(count++);
    ::unlinkat(directory, fresh.c_str(), 0);  // of a process with this one's number, which was killed
    const auto file = open_at(directory, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
    try {
        write_all(file.get(), std::as_bytes(std::span(text)), name);
        if (durability == Durability::durable && ::fsync(file.get()) != 0) throw_errno("sync " + name);
        if (::renameat(directory, fresh.c_str(), directory, name.c_str()) != 0) throw_errno("name " + name);
    } catch (...) {
        ::unlinkat(directory, fresh.c_str(), 0);
        throw;
    }
    if (durability == Durability::later) return;
    const auto place = open_at(directory, parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
    if (::fsync(place.get()) != 0) throw_errno("sync the directory of " + name);
}

}  // namespace imaged
