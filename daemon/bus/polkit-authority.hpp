// SPDX-License-Identifier: Apache-2.0
// Asks polkit over the bus, without waiting, what a caller may do. Does not ask about root, who can use imaged without
// polkit. Bus thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "jobs/authority.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

class PolkitAuthority : public Authority {
public:
    // CONNECTION outlives the authority.
    explicit PolkitAuthority(sdbus::IConnection& connection);
    // A polkit that is not there, or does not answer, is a no.
    void check(const Question& question, Answer answer) override;
    void caller_left(const std::string& bus_name) override;

    // "org.imaged1.pull" for "pull", and so on: dbus/org.imaged1.policy has each.
    static std::string action_id(std::string_view action) { return "org.imaged1." + std::string(action); }

private:
    struct Pending {
        Caller caller;
        Answer answer;
    };
    void require_room(const Caller& caller) const;
    void answered(std::uint64_t id, bool failed, const Verdict& verdict);
    void withdraw(std::uint64_t id);

    std::unique_ptr<sdbus::IProxy> polkit_;
    std::map<std::uint64_t, Pending> pending_;
    std::uint64_t last_id_ = 0;
};

}  // namespace imaged
