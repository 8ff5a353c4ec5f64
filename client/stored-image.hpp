// SPDX-License-Identifier: Apache-2.0
// Finds the stored image that a user names. A person calls it by its name (taken_image()), or by the digest of its
// manifest or config or the beginning of one: as lists print it, or any beginning behind "sha256:". A digest of several
// images names none of them.
#pragma once

#include <string>

#include "bus/connection.hpp"

namespace imagectl {

struct StoredImageAnswer {
    std::string image;  // the name that the image is stored under
    Variant body;
};

// Asks METHOD, which takes an image, about IMAGE as it is written; where none is stored under that name, about IMAGE
// with the path of its local transport made absolute. Other programs store relative paths as they were given.
// Throws BusError.
StoredImageAnswer ask_about_image(const Connection& connection, const char* method, const std::string& image);

// The name that such an image is stored under, or IMAGE with its path made absolute where none is.
std::string stored_name(const Connection& connection, const std::string& image);

}  // namespace imagectl
