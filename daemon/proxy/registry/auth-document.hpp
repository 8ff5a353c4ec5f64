// SPDX-License-Identifier: Apache-2.0
// Reads stored logins, containers-auth.json(5). What it does not know, it refuses by NotUnderstood.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace imaged {

class AuthDocument {
public:
    AuthDocument() = default;
    // Throws NotUnderstood for what is no such document, or has more than logins: credential helpers.
    explicit AuthDocument(std::string_view text);

    // "USER:PASSWORD" for REPOSITORY, HOST[:PORT]/PATH: that of the longest namespace, else that of the host. Throws
    // NotUnderstood for a login of another kind.
    std::optional<std::string> login(const std::string& repository) const;

private:
    struct Entry {
        std::optional<std::string> login;
        bool is_known = true;
    };
    std::map<std::string, Entry> entries_;
};

}  // namespace imaged
