// SPDX-License-Identifier: Apache-2.0
// Finds the locations of an image by containers-registries.conf(5), version 2. What it does not know, it refuses by
// NotUnderstood: a wrong guess would ask another registry than skopeo does.
#pragma once

#include <string>
#include <vector>

namespace imaged {

// A repository in a registry, or in a mirror of it.
struct Endpoint {
    std::string repository;  // HOST[:PORT]/PATH
    bool insecure = false;   // certificates are not verified, and plain HTTP will do

    std::string host() const { return repository.substr(0, repository.find('/')); }
    std::string path() const { return repository.substr(repository.find('/') + 1); }
};

struct RegistriesConf {
    std::vector<Endpoint> endpoints;  // in the order in which they are to be tried; never empty
    bool credential_helpers = false;  // programs are to be asked for credentials
};

// TEXTS are the files in the order in which they are read; IMAGE is HOST[:PORT]/PATH with a tag or a digest
// (full_registry_name()). Throws NotUnderstood.
RegistriesConf read_registries_conf(const std::vector<std::string>& texts, const std::string& image);

}  // namespace imaged
