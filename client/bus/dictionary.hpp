// SPDX-License-Identifier: Apache-2.0
// Reads an a{sv} of the daemon without trusting it: a missing key and one of another type than expected are both
// absent.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/glib.hpp"

namespace imagectl {

using Variant = imaged::VariantPtr;

// Takes over VALUE, floating or not.
Variant adopt(GVariant* value);

class Dictionary {
public:
    Dictionary() = default;
    // Takes over VALUE; anything but an a{sv} makes an empty dictionary.
    explicit Dictionary(Variant value);

    std::optional<std::string> text(const char* key) const;
    std::optional<std::uint64_t> number(const char* key) const;  // any integer type that is not negative
    std::optional<double> real(const char* key) const;
    std::optional<bool> flag(const char* key) const;
    std::optional<std::pair<std::uint64_t, std::uint64_t>> pair(const char* key) const;         // (tt) or (uu)
    std::vector<std::string> words(const char* key) const;                                      // as
    std::vector<Dictionary> list(const char* key) const;                                        // aa{sv}
    std::map<std::string, std::string> texts(const char* key) const;                            // a{ss}
    std::map<std::string, std::map<std::string, std::uint32_t>> counts(const char* key) const;  // a{sa{su}}
    Dictionary dictionary(const char* key) const;
    bool empty() const { return !entries_ || entries_->empty(); }

private:
    GVariant* value(const char* key) const;                    // null when absent
    GVariant* value(const char* key, const char* type) const;  // null when absent or of another type

    struct Entry {
        Variant key;  // keeps NAME alive
        const char* name;
        Variant value;
    };
    // Taken apart once: each g_variant_lookup_value() would unpack every entry before the one it looks for.
    std::shared_ptr<const std::vector<Entry>> entries_;
};

// The elements of an aa{sv}.
std::vector<Dictionary> dictionaries(GVariant* array);

}  // namespace imagectl
