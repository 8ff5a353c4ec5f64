// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/early-files.hpp"

namespace imaged {

ObjectSink& EarlyFiles::sink_of(std::uint64_t size) {
    if (bytes_ > 0 && (bytes_ >= early_bytes || size >= early_bytes - bytes_)) finish();
    if (!sink_) {
        sink_ = make_sink_();
        sink_->hash_beside(backlog_);
    }
    bytes_ += size;
    return *sink_;
}

void EarlyFiles::finish() {
    if (!sink_) return;
    sink_->flush();
    // Before they have names: a crash must leave no object with another content.
    sync_();
    sink_->publish();
    counts_ += sink_->counts();
    sink_.reset();
    bytes_ = 0;
}

}  // namespace imaged
