// SPDX-License-Identifier: Apache-2.0
// A shared object beside this program, loaded only for the work that needs it.
#pragma once

#include <string>

namespace imaged {

// The address of SYMBOL in MODULE, a file beside this program. Loaded once and kept: libraries like GLib cannot be
// unloaded. Throws Error(failed) saying that WHAT could not be loaded, also if MODULE is of another version than this
// program. Thread-safe.
void* load_symbol(const std::string& module, const char* symbol, const std::string& what);

}  // namespace imaged
