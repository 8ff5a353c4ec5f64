// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/process-traffic.hpp"

#include <fcntl.h>

#include <sstream>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_io_bytes = 4096;
// What a waking moves: the counter of an eventfd, or less through a pipe.
constexpr std::uint64_t waking_bytes = 8;

std::string read_io(const std::string& path) {
    try {
        const auto file = try_open_file(AT_FDCWD, path);
        return file ? read_all(file.get(), max_io_bytes, path) : std::string();
    } catch (const Error&) {
        return {};  // it has ended, or is not ours
    }
}

}  // namespace

ProcessTraffic::ProcessTraffic(pid_t process) : path_("/proc/" + std::to_string(process) + "/io") {}

bool ProcessTraffic::has_moved() {
    std::uint64_t bytes = 0, calls = 0, value = 0;
    std::istringstream lines(read_io(path_));
    for (std::string key; lines >> key >> value;) {
        if (key == "rchar:" || key == "wchar:") bytes += value;
        if (key == "syscr:" || key == "syscw:") calls += value;
    }
    const auto more_bytes = bytes - std::exchange(bytes_, bytes), more_calls = calls - std::exchange(calls_, calls);
    return bytes > 0 && more_bytes > waking_bytes * more_calls;
}

}  // namespace imaged
