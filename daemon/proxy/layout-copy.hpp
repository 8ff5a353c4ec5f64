// SPDX-License-Identifier: Apache-2.0
// Copies an OCI layout for a skopeo that cannot read the original, which is in another mount namespace and accessible
// to another user only. In a temporary directory that goes with the object.
#pragma once

#include <filesystem>
#include <functional>

#include "base/scratch-directory.hpp"

namespace imaged {

class LayoutCopy {
public:
    // Copies the layout in the directory LAYOUT. Calls PROGRESS every now and then; what it throws ends the copying.
    LayoutCopy(int layout, const std::function<void()>& progress);

    const std::filesystem::path& path() const { return scratch_.path(); }

private:
    ScratchDirectory scratch_;
};

}  // namespace imaged
