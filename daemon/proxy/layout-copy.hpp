// SPDX-License-Identifier: Apache-2.0
// A copy of an OCI layout, for a skopeo that cannot get at the original: it wants the path of what it reads, and the
// layout lies where only another user comes, in another mount namespace. In a temporary directory that goes with the
// object.
#pragma once

#include <filesystem>
#include <functional>

#include "base/scratch-directory.hpp"

namespace imaged {

class LayoutCopy {
public:
    // Of the layout in the directory LAYOUT. Calls PROGRESS every now and then; what it throws ends the copying.
    LayoutCopy(int layout, const std::function<void()>& progress);

    const std::filesystem::path& path() const { return scratch_.path(); }

private:
    ScratchDirectory scratch_;
};

}  // namespace imaged
