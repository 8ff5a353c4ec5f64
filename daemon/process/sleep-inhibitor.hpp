// SPDX-License-Identifier: Apache-2.0
// Has logind delay sleep and shutdown while a job changes the repository. Bus thread only.
#pragma once

#include <cstdint>
#include <memory>

#include "base/file-descriptor.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

class SleepInhibitor {
public:
    // CONNECTION, of the system's bus, outlives the inhibitor.
    explicit SleepInhibitor(sdbus::IConnection& connection);
    // Asks for a delay, or ends it. Without logind nothing happens.
    void hold(bool wanted);

private:
    void ask();

    std::unique_ptr<sdbus::IProxy> logind_;
    FileDescriptor lock_;  // logind delays for as long as it is open
    bool wanted_ = false;
    std::uint64_t asked_ = 0;  // the number of the last question
};

}  // namespace imaged
