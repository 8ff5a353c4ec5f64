// SPDX-License-Identifier: Apache-2.0
#include "chunked/wanted-frames.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::size_t skip_bytes = 64 * 1024;

[[noreturn]] void refuse_early_end() {
    throw Error(ErrorKind::corrupt_input, "the parts of the layer end early");
}

}  // namespace

std::size_t WantedFrames::read(std::span<std::byte> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size() && find_next()) {
        const auto left = plan_[file_].end - position_;
        const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size() - filled, left));
        if (fetched_.read(buffer.subspan(filled, wanted)) < wanted) refuse_early_end();
        position_ += wanted;
        filled += wanted;
    }
    return filled;
}

bool WantedFrames::find_next() {
    while (file_ < plan_.size() && (plan_[file_].is_here || plan_[file_].end <= position_)) ++file_;
    if (file_ == plan_.size()) return false;
    const auto offset = plan_[file_].offset;
    if (position_ >= offset) return true;
    while (range_ < ranges_.size() && ranges_[range_].end() <= offset) ++range_;
    if (range_ == ranges_.size()) refuse_early_end();
    position_ = std::max(position_, ranges_[range_].offset);
    skip(offset - position_);
    return true;
}

void WantedFrames::skip(std::uint64_t count) {
    skipped_.resize(skip_bytes);
    while (count > 0) {
        const auto part = std::span(skipped_).first(std::min<std::uint64_t>(count, skip_bytes));
        if (fetched_.read(part) < part.size()) refuse_early_end();
        position_ += part.size();
        count -= part.size();
    }
}

}  // namespace imaged
