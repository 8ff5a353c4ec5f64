// SPDX-License-Identifier: Apache-2.0
// Computes a value that changes whenever a ref changes that keeps objects in the repository. Refs of layers do not
// count, because a layer without another ref is removed.
//
// Costs as little as RefListing when nothing has changed. What is known of the refs of other programs is kept for the
// next process that asks: on disk in extensions/imaged/refs. A record that is missing or damaged means that each is
// read.
//
// Belongs to one thread; borrows the repository.
#pragma once

#include <optional>

#include "base/checksum.hpp"
#include "store/files/ref-listing.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class RefState {
public:
    explicit RefState(const Repository& repository);

    // Before the first refresh(): takes over what another process has kept.
    void recall() noexcept;
    // Keeps what refresh() saw, if that spares the next process any reading. Throws what keeps the record from being
    // written.
    void remember() const;
    // Looks for changes. True when images, kept versions or the state may be others than the last time.
    bool refresh();
    // Of this repository and no copy of it. Of what refresh() saw. Computed when it is asked for.
    const Checksum& value() const;
    // The refs that refresh() saw, as Repository::all_refs() has them, but for those of layers. Throws the error of one
    // that could not be read.
    Refs refs() const;
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
