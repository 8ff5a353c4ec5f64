// SPDX-License-Identifier: Apache-2.0
#include "base/cancellation.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "base/error.hpp"

namespace imaged {

Cancellation::Cancellation() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!event_) throw_errno("eventfd");
}

void Cancellation::request() noexcept {
    requested_.store(true, std::memory_order_relaxed);
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
    if (auto* part = part_.load()) part->request();
}

Cancellation& Cancellation::begin_part() {
    auto& part = parts_.emplace_back();
    part_.store(&part);
    if (requested()) part.request();
    return part;
}

void Cancellation::check() const {
    if (requested()) throw Error(ErrorKind::cancelled, "the job was cancelled");
}

}  // namespace imaged
