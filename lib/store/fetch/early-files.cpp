// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/early-files.hpp"

namespace imaged {

ObjectSink& EarlyFiles::sink_of(std::uint64_t size) {
    // What was there before stays there.
    const auto bytes = sink_ ? sink_->counts().bytes_written : 0;
    if (bytes > 0 && (bytes >= early_bytes || size >= early_bytes - bytes)) finish();
    if (!sink_) {
        sink_ = make_sink_();
        sink_->hash_beside(backlog_);
    }
    return *sink_;
}

void EarlyFiles::finish() {
    if (!sink_) return;
    sink_->flush();
    // Before they have names: a crash must leave no object with another content.
    if (sink_->counts().objects_written > 0) sync_();
    sink_->publish();
    counts_ += sink_->counts();
    sink_.reset();
}

}  // namespace imaged
