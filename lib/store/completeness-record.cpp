// SPDX-License-Identifier: Apache-2.0
#include "store/completeness-record.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

constexpr const char* directory_name = "extensions/imaged";
constexpr const char* file_name = "extensions/imaged/complete";
constexpr const char* last_line = "end";
// Of an image some dozens of commits are kept.
constexpr std::size_t max_bytes = 1024 * 1024;
// Far beyond the resolution of any file system's clock.
constexpr std::int64_t settle_nanoseconds = 2'000'000'000;

std::int64_t nanoseconds(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

struct State {
    Checksum checksum;
    std::int64_t changed = 0;  // the youngest ctime
};

State state_of(int objects) {
    std::array<std::uint64_t, 3UL * 256> stamps{};
    State state;
    for (unsigned i = 0; i < 256; ++i) {
        char name[3];
        std::snprintf(name, sizeof name, "%02x", i);
        struct stat status;
        if (::fstatat(objects, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno != ENOENT) throw_errno("look at objects/" + std::string(name));
            continue;
        }
        const auto changed = nanoseconds(status.st_ctim);
        state.changed = std::max(state.changed, changed);
        stamps[3UL * i] = status.st_dev;
        stamps[3UL * i + 1] = status.st_ino;
        stamps[3UL * i + 2] = static_cast<std::uint64_t>(changed);
    }
    state.checksum = sha256({reinterpret_cast<const char*>(stamps.data()), sizeof stamps});
    return state;
}

std::unordered_set<Checksum> read_record(const Repository& repository, const Checksum& state) {
    const auto file = try_open_at(repository.fd(), file_name, O_RDONLY | O_NOFOLLOW);
    if (!file) return {};
    const auto text = read_all(file.get(), max_bytes, file_name);
    std::unordered_set<Checksum> commits;
    bool first = true;
    for (std::size_t begin = 0; begin < text.size();) {
        const auto end = std::min(text.find('\n', begin), text.size());
        const auto line = std::string_view(text).substr(begin, end - begin);
        begin = end + 1;
        if (!first && line == last_line) return commits;
        const auto checksum = Checksum::from_hex(line);
        if (!checksum || (first && *checksum != state)) return {};
        if (!first) commits.insert(*checksum);
        first = false;
    }
    return {};  // cut off
}

}  // namespace

CompletenessRecord::CompletenessRecord(const Repository& repository) : repository_(repository) {
    // The names of a parent repository are not ours to watch.
    if (repository.has_parent()) return;
    try {
        timespec now;
        ::clock_gettime(CLOCK_REALTIME, &now);
        const auto state = state_of(repository.objects());
        state_ = state.checksum;
        settled_ = state.changed + settle_nanoseconds < nanoseconds(now);
        complete_ = read_record(repository, state.checksum);
    } catch (const Error&) {
        complete_.clear();
    }
}

void CompletenessRecord::keep(const std::unordered_set<Checksum>& commits) const {
    if (!state_ || !settled_ || commits == complete_) return;
    auto text = state_->hex() + "\n";
    for (const auto& commit : commits) text += commit.hex() + "\n";
    text += std::string(last_line) + "\n";
    const auto unfinished = std::string(file_name) + "." + std::to_string(::getpid());
    try {
        const int directory = repository_.fd();
        ::mkdirat(directory, "extensions", 0755);
        ::mkdirat(directory, directory_name, 0755);
        const auto file = open_at(directory, unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
        write_all(file.get(), std::as_bytes(std::span(text)), unfinished);
        if (::renameat(directory, unfinished.c_str(), directory, file_name) != 0) throw_errno("name " + unfinished);
    } catch (const Error&) {
        ::unlinkat(repository_.fd(), unfinished.c_str(), 0);
    }
}

}  // namespace imaged
