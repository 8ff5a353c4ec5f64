// SPDX-License-Identifier: Apache-2.0
// The system's authority: polkit, asked over the bus without waiting. root is not a question for polkit, so that it
// can work where polkit does not run. Bus thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "authority.hpp"
#include "sdbus-shim.hpp"

namespace imaged {

class PolkitAuthority : public Authority {
public:
    // CONNECTION outlives the authority.
    explicit PolkitAuthority(sdbus::IConnection& connection);
    // A polkit that is not there, or does not answer, is a no.
    void check(const Question& question, Answer answer) override;

    // "org.imaged1.pull-unverified" for Action::pull_unverified, and so on: dbus/org.imaged1.policy has each.
    static std::string action_id(Action action);

private:
    std::unique_ptr<sdbus::IProxy> polkit_;
};

}  // namespace imaged
