// SPDX-License-Identifier: Apache-2.0
// The reason for leaving something to skopeo: a configuration, credentials or a registry need what is not supported
// here.
#pragma once

#include <stdexcept>

namespace imaged {

class NotUnderstood : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace imaged
