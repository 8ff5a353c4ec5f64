// SPDX-License-Identifier: Apache-2.0
#include "base/module.hpp"

#include <dlfcn.h>

#include <filesystem>

#include "base/error.hpp"

namespace imaged {

void* load_symbol(const std::string& module, const char* symbol, const std::string& what) {
    const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / module;
    void* loaded = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* address = loaded != nullptr ? ::dlsym(loaded, symbol) : nullptr;
    if (address == nullptr) throw Error(ErrorKind::failed, "load " + what + ": " + ::dlerror());
    return address;
}

}  // namespace imaged
