// SPDX-License-Identifier: Apache-2.0
#include "reading/catalog.hpp"

#include "base/json.hpp"
#include "base/module.hpp"

namespace imaged {

namespace {

template <typename Function>
Function* load(const char* name) {
    return reinterpret_cast<Function*>(load_symbol("imaged-catalog.so", name, "the catalog"));
}

}  // namespace

std::unique_ptr<ImageCatalog> open_catalog(const std::string& repository) {
    return std::unique_ptr<ImageCatalog>(load<OpenCatalog>(open_catalog_symbol)(repository));
}

nlohmann::json read_deployments(const std::string& sysroot, const std::string& repository) {
    const std::unique_ptr<nlohmann::json> deployments(
        load<ReadDeployments>(read_deployments_symbol)(sysroot, repository));
    return std::move(*deployments);
}

}  // namespace imaged
