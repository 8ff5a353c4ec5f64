// SPDX-License-Identifier: Apache-2.0
// The version of a program or of a module that load_symbol() (base/module.hpp) loads: part of both, and compared.
#include "module-stamp.hpp"

extern "C" {
__attribute__((visibility("default"))) extern const char imaged_module_version[];
const char imaged_module_version[] = IMAGED_MODULE_STAMP;
}
