// SPDX-License-Identifier: Apache-2.0
#include "catalog.hpp"

#include <dlfcn.h>

#include <filesystem>

#include "base/error.hpp"

namespace imaged {

namespace {

// Loaded once and kept: libraries like GLib cannot be unloaded.
template <typename Function>
Function* load(const char* name) {
    const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "imaged-catalog.so";
    void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) throw Error(ErrorKind::failed, std::string("load the catalog: ") + ::dlerror());
    auto* function = reinterpret_cast<Function*>(::dlsym(module, name));
    if (function == nullptr) throw Error(ErrorKind::failed, std::string("load the catalog: ") + ::dlerror());
    return function;
}

}  // namespace

std::unique_ptr<Catalog> open_catalog(const std::string& repository) {
    return std::unique_ptr<Catalog>(load<OpenCatalog>(open_catalog_symbol)(repository));
}

nlohmann::json read_deployments(const std::string& sysroot, const std::string& repository) {
    const std::unique_ptr<nlohmann::json> deployments(
        load<ReadDeployments>(read_deployments_symbol)(sysroot, repository));
    return std::move(*deployments);
}

}  // namespace imaged
