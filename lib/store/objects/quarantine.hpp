// SPDX-License-Identifier: Apache-2.0
// Moves damaged objects aside so that an import writes them anew. Objects that were not replaced are moved back: a
// damaged object is more useful for an analysis than a missing one.
#pragma once

#include <string>
#include <vector>

#include "layer/staging-area.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class Quarantine {
public:
    // Borrows both.
    Quarantine(const Repository& repository, StagingArea& staging);
    ~Quarantine();
    Quarantine& operator=(Quarantine&&) = delete;

    // Everything was replaced or is not wanted any more: nothing is put back.
    void discard() { taken_.clear(); }
    // OBJECT is CHECKSUM.TYPE, ".file" in every repository mode. Missing is fine.
    void take(const std::string& object);

private:
    std::string path_of(const std::string& object) const;

    const Repository& repository_;
    const std::shared_ptr<Scratch> scratch_;
    std::vector<std::string> taken_;
};

}  // namespace imaged
