// SPDX-License-Identifier: Apache-2.0
#include "catalog.hpp"

#include <dlfcn.h>

#include <filesystem>

#include "base/error.hpp"

namespace imaged {

namespace {

// Loaded once and kept: libraries like GLib cannot be unloaded.
OpenCatalog* load_module() {
    const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "imaged-catalog.so";
    void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) throw Error(ErrorKind::failed, std::string("load the catalog: ") + ::dlerror());
    auto* function = reinterpret_cast<OpenCatalog*>(::dlsym(module, open_catalog_symbol));
    if (function == nullptr) throw Error(ErrorKind::failed, std::string("load the catalog: ") + ::dlerror());
    return function;
}

}  // namespace

std::unique_ptr<Catalog> open_catalog(const std::string& repository) {
    return std::unique_ptr<Catalog>(load_module()(repository));
}

}  // namespace imaged
