// SPDX-License-Identifier: Apache-2.0
// Who may do what. The answer comes by callback, at once or later, always on the bus thread and exactly once.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace imaged {

// A connection on the bus and the user behind it. The unique name tells callers apart, the uid says what they may do.
struct Caller {
    std::string bus_name;
    uid_t uid = 0;
};

// One for each verb that changes something.
enum class Action { import, pull, copy, cancel };

struct Question {
    Action action = Action::pull;
    Caller caller;
    std::string image;         // canonical reference, for whoever is asked; empty where the verb takes none
    bool interactive = false;  // the caller allows a dialogue
};

class Authority {
public:
    using Answer = std::function<void(bool allowed)>;

    virtual ~Authority() = default;
    virtual void check(const Question& question, Answer answer) = 0;
};

// root, and on a user's own bus that user: no question is asked of anybody.
class OwnerAuthority : public Authority {
public:
    // Only root.
    OwnerAuthority() = default;
    // root and OWNER.
    explicit OwnerAuthority(uid_t owner) : owner_(owner) {}
    void check(const Question& question, Answer answer) override {
        answer(question.caller.uid == 0 || question.caller.uid == owner_);
    }

private:
    uid_t owner_ = 0;
};

}  // namespace imaged
