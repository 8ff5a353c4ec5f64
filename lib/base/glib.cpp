// SPDX-License-Identifier: Apache-2.0
#include "base/glib.hpp"

namespace imaged {

void ErrorSlot::raise(std::string_view what) const {
    auto kind = ErrorKind::failed;
    if (matches(G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) kind = ErrorKind::not_found;
    if (matches(G_IO_ERROR, G_IO_ERROR_NO_SPACE)) kind = ErrorKind::no_space;
    if (matches(G_IO_ERROR, G_IO_ERROR_CANCELLED)) kind = ErrorKind::cancelled;
    throw Error(kind, std::string(what) + ": " + (error_ != nullptr ? error_->message : "unknown error"));
}

}  // namespace imaged
