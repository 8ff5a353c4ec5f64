// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/layer-use.hpp"

#include <array>

#include "base/error.hpp"
#include "store/records/layer-place.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/kept-ref.hpp"
#include "store/repository/ref-name.hpp"

namespace imaged {

namespace {

constexpr std::array<const char*, 5> protected_prefixes{"ostree/0", "ostree/1", "rpmostree/base",
                                                        "ostree/container/baseimage", kept_ref_directory};

std::string without_slash(std::string_view prefix) {
    return std::string(prefix.substr(0, prefix.size() - 1));
}

// The manifest's layers; a commit without a manifest has none.
void add_layers(const Repository& repository, const Checksum& checksum, std::set<std::string>& used) {
    if (checksum == Checksum{}) throw Error(ErrorKind::repository_damaged, "its ref names no commit");
    const auto manifest = repository.load_commit(checksum).text(manifest_key);
    if (!manifest) return;
    for (const auto& layer : Manifest::parse(*manifest).layers) {
        used.insert(layer_ref(layer.digest));
        used.insert(derived_ref(layer.digest));
    }
}

}  // namespace

LayerUse LayerUse::find(const Repository& repository, const std::map<std::string, Checksum>& dropped) {
    LayerUse use;
    for (const auto& [ref, commit] : repository.refs(without_slash(image_ref_prefix))) {
        try {
            add_layers(repository, commit, use.used);
        } catch (const Error& error) {
            use.damaged.emplace(image_of_ref(ref), error.what());
        }
    }
    for (const char* prefix : protected_prefixes) {
        for (const auto& [ref, commit] : repository.refs(prefix)) {
            if (dropped.contains(ref)) continue;
            try {
                add_layers(repository, commit, use.used);
            } catch (const Error& error) {
                use.damaged.emplace(ref, error.what());
            }
        }
    }
    for (const auto& [alias, target] : repository.aliases()) use.used.insert(target);
    if (!use.damaged.empty()) return use;
    for (const char* directory : {layer_ref_directory, derived_ref_directory}) {
        for (const auto& [ref, commit] : repository.refs(directory)) {
            if (!use.used.contains(ref)) use.unused.emplace(ref, commit);
        }
    }
    return use;
}

}  // namespace imaged
