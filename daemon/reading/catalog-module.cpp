// SPDX-License-Identifier: Apache-2.0
// imaged-catalog.so: the catalog of lib/store for imaged, which loads it.
#include "base/json.hpp"
#include "store/catalog/deployments.hpp"
#include "store/catalog/image-catalog.hpp"

extern "C" __attribute__((visibility("default"))) imaged::ImageCatalog* imaged_open_catalog(
    const std::string& repository) {
    return imaged::ImageCatalog::open_existing(repository).release();
}

extern "C" __attribute__((visibility("default"))) nlohmann::json* imaged_read_deployments(
    const std::string& sysroot, const std::string& repository) {
    return new nlohmann::json(imaged::list_deployments(sysroot, repository));
}
