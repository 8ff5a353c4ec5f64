// SPDX-License-Identifier: Apache-2.0
// Decides which caller may do what. The answer comes by callback, at once or later, always on the bus thread and
// exactly once.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace imaged {

// A connection on the bus and the user behind it. The unique name identifies the caller, the uid decides what it may
// do.
struct Caller {
    std::string bus_name;
    uid_t uid = 0;
};

// The last parts of polkit actions, "pull" of org.imaged1.pull, that must be allowed. Each kind of job names its own
// (job::Traits); these are the others.
inline constexpr std::string_view pull_unverified_action = "pull-unverified";  // an image that needs no signature
inline constexpr std::string_view store_as_action = "store-as";                // under the name of another
inline constexpr std::string_view cancel_action = "cancel";

struct Question {
    std::string_view action;  // of static storage
    Caller caller;
    std::string image;  // canonical reference, for the question to polkit; empty if the verb takes none
    std::map<std::string, std::string> options;  // what else was asked for, by the names of the interface
    bool interactive = false;                    // the caller allows a dialogue
};

struct Verdict {
    bool allowed = false;
    std::string reason;  // why it is not, for people
};

class Authority {
public:
    using Answer = std::function<void(const Verdict& verdict)>;

    virtual ~Authority() = default;
    // Whether CALLER may do everything: root, and the owner of a user's own bus.
    virtual bool trusts(const Caller& caller) const { return caller.uid == 0; }
    // Throws Error(queue_full) when too many questions of the caller's user, or of all, wait for an answer.
    virtual void check(const Question& question, Answer answer) = 0;
    // Questions of the connection BUS_NAME are withdrawn; their answer is no.
    virtual void caller_left(const std::string&) {}
};

// The authority on a user's own bus: allows root and that user everything, and asks no questions.
class OwnerAuthority : public Authority {
public:
    explicit OwnerAuthority(uid_t owner) : owner_(owner) {}
    bool trusts(const Caller& caller) const override { return caller.uid == 0 || caller.uid == owner_; }
    void check(const Question& question, Answer answer) override {
        answer({trusts(question.caller), "this bus is for root and the user whose it is"});
    }

private:
    const uid_t owner_;
};

}  // namespace imaged
