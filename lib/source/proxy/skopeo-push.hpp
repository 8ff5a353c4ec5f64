// SPDX-License-Identifier: Apache-2.0
// Pushes an image from an OCI layout to a registry, with `skopeo copy`.
#pragma once

#include <string>

#include "base/cancellation.hpp"
#include "oci/digest.hpp"
#include "oci/image-reference.hpp"
#include "source/proxy/image-proxy.hpp"

namespace imaged {

// Pushes the image TAG, whose manifest has the digest DIGEST, of the layout in the directory LAYOUT, which is borrowed
// and which everybody may read. The registry gets it as it is, and is asked for it afterwards. A skopeo that
// neither reads nor writes for the stall time is ended. Throws Error with the kind that skopeo's message stands for.
void push_layout(int layout, const std::string& tag, const Digest& digest, const ImageReference& destination,
                 const Cancellation& cancellation, const ProxyOptions& options);

// The bytes of a pushed index: those it has, or those that skopeo writes.
enum class IndexForm { preserved, rewritten };
// Pushes the index TAG of the layout likewise, without what it lists, which the registry has. Returns false, with
// nothing pushed, if the index is to be preserved and this skopeo would write it in another way: those before OCI 1.1
// leave out the types of artifacts.
bool push_index(int layout, const std::string& tag, const ImageReference& destination, IndexForm form,
                const Cancellation& cancellation, const ProxyOptions& options);

}  // namespace imaged
