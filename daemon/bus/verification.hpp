// SPDX-License-Identifier: Apache-2.0
// Decides whether an image needs a signature, and so between the actions pull and pull-unverified.
#pragma once

#include "job/kinds.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

// REQUEST stores an image (job::Traits). True unless the job will refuse the image without a signature: as its
// reference says, or SETTINGS, or the host's containers policy now. A policy that cannot be understood demands no
// signature.
bool is_unverified(const job::Request& request, const job::Settings& settings);

// Refs are files and directories: the ref of a name without a tag shuts out all names that go on after a slash. Throws
// Error(invalid_reference) for NAME if it is such a name of a registry's image.
void require_tag(const ImageReference& name);
// Makes REQUEST require a signature, even if the configuration changes before it runs: a job does what was authorised.
void demand_signature(job::Request& request);

// For an image that is to be stored under a NAME that its caller chose: throws Error(not_authorized) where the
// containers policy demands something of images with that name that it does not demand of REQUEST's image (of an
// archive it can demand nothing), or where NAME is no image of a registry. The name in the repository is what other
// programs take for the origin of the image.
void require_policy_of_name(const job::Request& request, const ImageReference& name);

}  // namespace imaged
