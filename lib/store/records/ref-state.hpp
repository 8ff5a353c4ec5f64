// SPDX-License-Identifier: Apache-2.0
// Computes one checksum over all refs of a repository except those of layers: it changes if any of these refs changes.
// Refs of layers do not count, because a layer that no other ref needs is removed.
//
// Costs as little as RefListing when nothing has changed. The facts about refs of other programs are kept on disk
// for the next process, in extensions/imaged/refs. If that record is missing or damaged, the next process reads each
// of these refs.
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

    // Takes over what another process has kept. Call before the first refresh().
    void recall() noexcept;
    // Keeps what refresh() saw, if that spares the next process any reading. Throws what keeps the record from being
    // written.
    void remember() const;
    // Looks for changes. True when images, kept versions or the state may be others than the last time.
    bool refresh();
    // Returns the checksum of the refs that refresh() saw. Computed on demand. A copy of the repository has another.
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
