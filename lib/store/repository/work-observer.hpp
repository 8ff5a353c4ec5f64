// SPDX-License-Identifier: Apache-2.0
// Receives the progress of a job that fetches nothing. Members may be called from several threads; they must be quick
// and must not throw.
#pragma once

#include <cstdint>
#include <string_view>

namespace imaged {

class WorkObserver {
public:
    virtual ~WorkObserver() = default;
    // NAME as the interface lists them at Job.Phase. FROM and TO are its share of the whole job, between 0 and 1. UNIT
    // is what advance() counts, as the interface lists them at Job.Unit; empty if it is not called.
    virtual void begin(std::string_view name, double from, double to, std::string_view unit) = 0;
    // DONE of the TOTAL work of the phase is done.
    virtual void advance(std::uint64_t done, std::uint64_t total) = 0;
};

}  // namespace imaged
