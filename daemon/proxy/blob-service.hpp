// SPDX-License-Identifier: Apache-2.0
// The service that reads blobs of a registry (source/skopeo/blob-request.hpp).
#pragma once

#include "base/file-descriptor.hpp"
#include "source/skopeo/skopeo-request.hpp"

namespace imaged {

// Serves what is asked for on CHANNEL, of REQUEST's image, until nobody is at its other end any more; then ends the
// process. AUTH, if any, is a file of credentials. For a process of one thread.
[[noreturn]] void serve_blobs(int channel, const SkopeoRequest& request, const FileDescriptor& auth);

}  // namespace imaged
