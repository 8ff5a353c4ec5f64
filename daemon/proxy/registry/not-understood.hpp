// SPDX-License-Identifier: Apache-2.0
// Why something is left to skopeo: a configuration, credentials or a registry want what is not known here.
#pragma once

#include <stdexcept>

namespace imaged {

class NotUnderstood : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace imaged
