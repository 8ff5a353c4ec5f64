// SPDX-License-Identifier: Apache-2.0
#include "base/module.hpp"

#include <dlfcn.h>

#include <filesystem>
#include <string_view>

#include "base/error.hpp"

// This program's own (module-version.cpp).
extern "C" const char imaged_module_version[];

namespace imaged {

namespace {

// When the program starts: the mount namespace of a confined worker may have it at another path.
const std::filesystem::path program = [] {
    std::error_code failure;
    return std::filesystem::read_symlink("/proc/self/exe", failure);
}();
constexpr const char* version_symbol = "imaged_module_version";

void* find(void* module, const char* symbol) {
    void* address = ::dlsym(module, symbol);
    if (address == nullptr) throw Error(ErrorKind::failed, ::dlerror());
    return address;
}

// They exchange C++ objects: one that was built from other headers would misread them.
void require_same_version(void* module) {
    const std::string_view version(static_cast<const char*>(find(module, version_symbol)));
    if (version != imaged_module_version)
        throw Error(ErrorKind::failed, "it is of imaged " + std::string(version) + ", and this program of imaged " +
                                           imaged_module_version +
                                           "; if imaged was upgraded while it was running, restart it");
}

}  // namespace

void* load_symbol(const std::string& module, const char* symbol, const std::string& what) {
    const auto path = program.parent_path() / module;
    return in_context("load " + what + " (" + path.string() + ")", [&] {
        void* loaded = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (loaded == nullptr) throw Error(ErrorKind::failed, ::dlerror());
        require_same_version(loaded);
        return find(loaded, symbol);
    });
}

}  // namespace imaged
