// SPDX-License-Identifier: Apache-2.0
// RAII for GLib and libostree: owners for their pointers, and exceptions for GError out-parameters.
#pragma once

#include <gio/gio.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace imaged {

template <auto Function>
struct Free {
    template <typename T>
    void operator()(T* pointer) const {
        Function(pointer);
    }
};

template <typename T>
using GObjectPtr = std::unique_ptr<T, Free<g_object_unref>>;
using VariantPtr = std::unique_ptr<GVariant, Free<g_variant_unref>>;
using BytesPtr = std::unique_ptr<GBytes, Free<g_bytes_unref>>;
using HashTablePtr = std::unique_ptr<GHashTable, Free<g_hash_table_unref>>;
using CharPtr = std::unique_ptr<char, Free<g_free>>;

// A reference that a function handed over (transfer full).
template <typename T>
GObjectPtr<T> adopt(T* object) {
    return GObjectPtr<T>(object);
}
// A new variant: sinks a floating reference.
inline VariantPtr adopt_variant(GVariant* variant) {
    return VariantPtr(g_variant_ref_sink(variant));
}

// A value of TYPE from its serialised form. Copies: GVariant wants aligned data that lives as long as it does.
VariantPtr parse_variant(const GVariantType* type, std::string_view bytes);
// The serialised form of VALUE, which is borrowed.
std::string bytes_of(GVariant* value);

// A GError out-parameter: pass out() to a GLib function, then check() what it returned.
class ErrorSlot {
public:
    ErrorSlot() = default;
    ErrorSlot& operator=(ErrorSlot&&) = delete;
    ~ErrorSlot() { g_clear_error(&error_); }

    GError** out() {
        g_clear_error(&error_);
        return &error_;
    }
    bool matches(GQuark domain, int code) const { return error_ != nullptr && g_error_matches(error_, domain, code); }

    // Returns RESULT when it is true, throws raise(WHAT) otherwise.
    template <typename T>
    T check(T result, std::string_view what) {
        if (!result) raise(what);
        return result;
    }
    // Throws an Error of the kind that the GError's domain and code stand for: "WHAT: its message".
    [[noreturn]] void raise(std::string_view what) const;

private:
    GError* error_ = nullptr;
};

}  // namespace imaged
