// SPDX-License-Identifier: Apache-2.0
#include "base/glib.hpp"

#include <cerrno>

#include "base/system-failure.hpp"

namespace imaged {

VariantPtr parse_variant(const GVariantType* type, std::string_view bytes) {
    const BytesPtr copy(g_bytes_new(bytes.data(), bytes.size()));
    return adopt_variant(g_variant_new_from_bytes(type, copy.get(), FALSE));
}

std::string bytes_of(GVariant* value) {
    return {static_cast<const char*>(g_variant_get_data(value)), g_variant_get_size(value)};
}

void ErrorSlot::raise(std::string_view what) const {
    auto kind = ErrorKind::failed;
    if (matches(G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) kind = ErrorKind::not_found;
    if (matches(G_IO_ERROR, G_IO_ERROR_CANCELLED)) kind = ErrorKind::cancelled;
    const Error error(kind, std::string(what) + ": " + (error_ != nullptr ? error_->message : "unknown error"));
    // GLib has one code for ENOSPC and ENOMEM, and none for EDQUOT.
    const auto number = error_number(error);
    throw number == ENOSPC || number == EDQUOT ? Error(ErrorKind::no_space, error.what()) : error;
}

}  // namespace imaged
