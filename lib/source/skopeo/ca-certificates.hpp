// SPDX-License-Identifier: Apache-2.0
// The CA certificates for a registry, without the client certificates beside them in certs.d(5), which are credentials
// of the host.
#pragma once

#include <optional>
#include <string>

#include "base/error.hpp"

namespace imaged {

// Makes a directory in SCRATCH for skopeo's option --cert-dir, with the CA certificates (*.crt) that this host has for
// REGISTRY, "HOST[:PORT]" if there is one. Returns its path; if SCRATCH is empty, a path that does not exist. Throws
// Error if the directory cannot be made.
std::string ca_directory(const std::optional<std::string>& registry, const std::string& scratch);

// Returns ERROR, which skopeo reported for IMAGE. If it is about TLS, and a directory or a file in certs.d(5) of a
// registry that ERROR or IMAGE names cannot be used, returns an Error(failed) that names that file: skopeo ignores it,
// or does not name it. BY_SERVICE: skopeo runs as a user of its own.
Error with_certificate_fault(const Error& error, const std::string& image, bool by_service);

// The registry that NAME, the name of an image without its transport, is in.
std::string registry_of(const std::string& name);

}  // namespace imaged
