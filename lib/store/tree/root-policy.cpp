// SPDX-License-Identifier: Apache-2.0
#include "store/tree/root-policy.hpp"

#include <algorithm>

#include "base/glib.hpp"

namespace imaged {

namespace {

bool has_transient_root(const std::string& text) {
    const std::unique_ptr<GKeyFile, Free<g_key_file_unref>> file(g_key_file_new());
    if (g_key_file_load_from_data(file.get(), text.data(), text.size(), G_KEY_FILE_NONE, nullptr) == FALSE)
        return false;
    if (g_key_file_get_boolean(file.get(), "root", "transient", nullptr) != FALSE) return true;
    constexpr std::array<std::string_view, 6> enabled{"yes", "true", "1", "maybe", "signed", "verity"};
    const CharPtr composefs(g_key_file_get_string(file.get(), "composefs", "enabled", nullptr));
    return composefs && std::find(enabled.begin(), enabled.end(), composefs.get()) != enabled.end();
}

}  // namespace

RootPolicy root_policy(const std::function<std::optional<std::string>(const std::string& path)>& read) {
    for (const auto* path : prepare_root_paths) {
        if (const auto text = read(path))
            return has_transient_root(*text) ? RootPolicy::everything : RootPolicy::usr_etc_var;
    }
    return RootPolicy::usr_etc_var;
}

bool is_deployed(std::string_view name, bool is_directory) {
    return name == "usr" || name == "etc" || name == "var" || (is_directory && is_runtime_directory(name));
}

}  // namespace imaged
