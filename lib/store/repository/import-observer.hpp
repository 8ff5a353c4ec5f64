// SPDX-License-Identifier: Apache-2.0
// Receives the progress of an import or a copy. Members are called from several threads, one at a time for each layer;
// they must be quick and must not throw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/enum-names.hpp"
#include "oci/layout.hpp"

namespace imaged {

// relabel is left out where the image has no SELinux policy.
enum class ImportPhase { manifest, fetch, copy, write, merge, relabel, commit, push };
constexpr auto names_of(ImportPhase) {
    return enum_names<ImportPhase>({{ImportPhase::manifest, "manifest"},
                                    {ImportPhase::fetch, "fetch"},
                                    {ImportPhase::copy, "copy"},
                                    {ImportPhase::write, "write"},
                                    {ImportPhase::merge, "merge"},
                                    {ImportPhase::relabel, "relabel"},
                                    {ImportPhase::commit, "commit"},
                                    {ImportPhase::push, "push"}});
}

class ImportObserver {
public:
    virtual ~ImportObserver() = default;
    virtual void phase(ImportPhase phase) = 0;
    // The image's layers. Called once, before all other calls about layers. PRESENT: whether each is already stored.
    virtual void layers(const std::vector<ImageLayer>& layers, const std::vector<bool>& present) = 0;
    // BYTES of the layer are fetched in all, those that were read already included, instead of what was known before.
    virtual void expected(std::size_t /*layer*/, std::uint64_t /*bytes*/) {}
    // BYTES more of a layer's compressed bytes were read.
    virtual void fetched(std::size_t layer, std::size_t bytes) = 0;
    // The layer is verified and in the repository.
    virtual void finished(std::size_t layer) = 0;
};

}  // namespace imaged
