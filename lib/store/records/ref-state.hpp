// SPDX-License-Identifier: Apache-2.0
// Computes a value that changes whenever a ref changes that keeps objects in the repository. Refs of layers do not
// count, because a layer without another ref is removed.
//
// Costs as little as RefListing when nothing has changed. Belongs to one thread; borrows the repository.
#pragma once

#include <optional>

#include "base/checksum.hpp"
#include "store/files/ref-listing.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class RefState {
public:
    explicit RefState(const Repository& repository);

    // Looks for changes. True when images, kept versions or the state may be others than the last time.
    bool refresh();
    // Of this repository and no copy of it. Of what refresh() saw. Computed when it is asked for.
    const Checksum& value() const;
    RefListing& images() { return images_; }
    RefListing& kept() { return kept_; }

private:
    Checksum compute() const;

    const Repository& repository_;
    RefListing images_, kept_, others_;
    mutable std::optional<Checksum> value_;
    bool is_new_ = true;
};

}  // namespace imaged
