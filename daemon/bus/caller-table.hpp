// SPDX-License-Identifier: Apache-2.0
// Finds the user of a unique bus name by asking the bus without waiting, and notices callers that leave. Bus thread
// only.
//
// Unique names are never used twice, so an answer stays right until the connection is gone; then it is dropped.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jobs/authority.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

class CallerTable {
public:
    // Empty when the caller left before it could be asked about.
    using Found = std::function<void(std::optional<Caller>)>;
    using Left = std::function<void(const std::string& bus_name)>;

    // CONNECTION outlives the table. LEFT is called for every connection that leaves the bus.
    CallerTable(sdbus::IConnection& connection, Left left);

    // FOUND holds about BYTES until then. Throws Error(queue_full) when too many calls wait, or hold too much.
    void identify(const std::string& bus_name, std::size_t bytes, Found found);
    bool known(const std::string& bus_name) const { return known_.contains(bus_name); }

private:
    void answered(const std::string& bus_name, std::optional<uid_t> uid);

    std::map<std::string, uid_t> known_;
    struct Waiting {
        std::vector<Found> found;
        std::size_t bytes = 0;
    };
    std::map<std::string, Waiting> asked_;
    std::size_t waiting_ = 0, waiting_bytes_ = 0;
    Left left_;
    std::unique_ptr<sdbus::IProxy> bus_;
    sdbus::Slot watch_;
};

}  // namespace imaged
