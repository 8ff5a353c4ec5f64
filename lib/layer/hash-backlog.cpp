// SPDX-License-Identifier: Apache-2.0
#include "layer/hash-backlog.hpp"

#include <algorithm>

namespace imaged {

void HashBacklog::drop_front(std::size_t bytes) {
    auto& front = blocks_.front();
    front = front.subspan(bytes);
    if (front.empty()) blocks_.pop_front();
}

void HashBacklog::catch_up() {
    if (blocks_.empty()) return;
    stream_.update(blocks_.front());
    blocks_.pop_front();
}

void HashBacklog::update_beside(PairedSha256& message, std::span<const std::byte> bytes) {
    while (!bytes.empty() && !blocks_.empty()) {
        const auto count = std::min(bytes.size(), blocks_.front().size());
        PairedSha256::update_both(message, bytes.first(count), stream_, blocks_.front().first(count));
        bytes = bytes.subspan(count);
        drop_front(count);
    }
    message.update(bytes);
}

Checksum HashBacklog::finish() {
    while (!blocks_.empty()) catch_up();
    return stream_.finish();
}

}  // namespace imaged
