// SPDX-License-Identifier: Apache-2.0
#include "base/glib.hpp"

#include <cerrno>

#include "base/system-failure.hpp"

namespace imaged {

void ErrorSlot::raise(std::string_view what) const {
    auto kind = ErrorKind::failed;
    if (matches(G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) kind = ErrorKind::not_found;
    if (matches(G_IO_ERROR, G_IO_ERROR_CANCELLED)) kind = ErrorKind::cancelled;
    const Error error(kind, std::string(what) + ": " + (error_ != nullptr ? error_->message : "unknown error"));
    // GLib has one code for ENOSPC and ENOMEM, and none for EDQUOT.
    const int number = error_number(error);
    throw number == ENOSPC || number == EDQUOT ? Error(ErrorKind::no_space, error.what()) : error;
}

}  // namespace imaged
