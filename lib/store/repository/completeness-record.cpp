// SPDX-License-Identifier: Apache-2.0
#include "store/repository/completeness-record.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/file-stamp.hpp"
#include "base/hex-byte.hpp"
#include "store/files/record-file.hpp"

namespace imaged {

namespace {

constexpr const char* last_line = "end";
// Of an image some dozens of commits are kept.
constexpr std::size_t max_bytes = 1024 * 1024;
// Far beyond the resolution of any file system's clock.
constexpr std::int64_t settle_nanoseconds = 2'000'000'000;

struct State {
    Checksum checksum;
    std::int64_t changed = 0;  // the youngest ctime
};

State state_of(int objects) {
    std::array<std::uint64_t, 3UL * 256> stamps{};
    State state;
    for (unsigned i = 0; i < 256; ++i) {
        const auto name = hex_byte(i);
        struct stat status;
        if (::fstatat(objects, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno != ENOENT) throw_errno("look at objects/" + name);
            continue;
        }
        const auto changed = in_nanoseconds(status.st_ctim);
        state.changed = std::max(state.changed, changed);
        stamps[3UL * i] = status.st_dev;
        stamps[3UL * i + 1] = status.st_ino;
        stamps[3UL * i + 2] = static_cast<std::uint64_t>(changed);
    }
    state.checksum = sha256({reinterpret_cast<const char*>(stamps.data()), sizeof stamps});
    return state;
}

std::unordered_set<Checksum> complete_commits(const Repository& repository, const Checksum& state) {
    const auto directory = open_records(repository.fd(), records_directory);
    const auto found = directory ? read_record(directory.get(), completeness_record, max_bytes) : std::nullopt;
    if (!found) return {};
    const auto& text = *found;
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
        const auto now = now_in_nanoseconds();
        const auto state = state_of(repository.objects());
        state_ = state.checksum;
        settled_ = state.changed + settle_nanoseconds < now;
        complete_ = complete_commits(repository, state.checksum);
    } catch (const Error&) {
        complete_.clear();
    }
}

void CompletenessRecord::keep(const std::unordered_set<Checksum>& commits) const {
    if (!state_ || !settled_ || commits == complete_) return;
    auto text = state_->hex() + "\n";
    for (const auto& commit : commits) text += commit.hex() + "\n";
    text += std::string(last_line) + "\n";
    try {
        repository_.writer().keep_record(completeness_record, text);
    } catch (const Error&) {
        // Costs the next job some time.
    }
}

}  // namespace imaged
