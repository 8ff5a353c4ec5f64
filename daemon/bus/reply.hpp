// SPDX-License-Identifier: Apache-2.0
// A pending answer to a caller. Copies share it; it keeps the daemon alive until the last copy is gone. Bus thread
// only.
#pragma once

#include <memory>
#include <utility>

#include "process/activity.hpp"
#include "process/bus-error.hpp"

namespace imaged {

template <typename... Values>
class Reply {
public:
    Reply(sdbus::Result<Values...>&& result, Activity& activity)
        : owed_(std::make_shared<Owed>(Owed{std::move(result), Activity::Hold(activity)})) {}

    // Ignores callers that left. If the bus rejects the answer, replies with an error.
    void answer(const Values&... values) const noexcept {
        try {
            owed_->result.returnResults(values...);
        } catch (...) {
            fail(current_error());
        }
    }
    void fail(const Error& error) const noexcept {
        try {
            owed_->result.returnError(bus_error(error));
        } catch (...) {
        }
    }

    // Runs FUNCTION, which answers; what it throws is the answer instead.
    template <typename Function>
    void answer_with(Function&& function) const noexcept {
        try {
            std::forward<Function>(function)();
        } catch (...) {
            fail(current_error());
        }
    }

private:
    struct Owed {
        sdbus::Result<Values...> result;
        Activity::Hold hold;
    };
    std::shared_ptr<Owed> owed_;
};

}  // namespace imaged
