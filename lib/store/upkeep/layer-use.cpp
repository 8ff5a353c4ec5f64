// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/layer-use.hpp"

#include <array>

#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

namespace {

constexpr std::array<const char*, 6> prefixes_of_users{
    image_ref_directory, "ostree/0", "ostree/1", "rpmostree/base", "ostree/container/baseimage", kept_ref_directory};

constexpr std::size_t few_images = 500;

}  // namespace

bool has_few_images(const Repository& repository) {
    std::size_t count = 0;
    for (const std::string directory : {image_ref_directory, kept_ref_directory})
        visit_ref_files(repository.fd(), "refs/heads/" + directory, directory + "/", nullptr,
                        [&](const RefEntry&) { ++count; });
    return count <= few_images;
}

std::set<std::string> layers_of_commit(const Repository& repository, const std::optional<Checksum>& commit) {
    if (!commit) throw Error(ErrorKind::repository_damaged, "its ref names no commit");
    std::set<std::string> refs;
    const auto manifest = repository.load_commit(*commit).text(manifest_key);
    if (!manifest) return refs;
    for (const auto& layer : Manifest::parse(*manifest).layers) {
        refs.insert(layer_ref(layer.digest));
        refs.insert(derived_ref(layer.digest));
        refs.insert(objects_ref(layer.digest));
    }
    return refs;
}

LayerUse LayerUse::find(const Repository& repository, const Refs& dropped, UnreadableRefs* unreadable) {
    LayerUse use;
    for (const char* prefix : prefixes_of_users) {
        for (const auto& [ref, commit] : repository.refs(prefix, unreadable)) {
            if (dropped.contains(ref)) continue;
            try {
                use.used.merge(layers_of_commit(repository, commit));
            } catch (const Error& error) {
                if (unreadable == nullptr && is_system_failure(error)) throw;
                use.damaged.emplace(image_of_ref(ref), error.what());
            }
        }
    }
    for (const auto& [alias, target] : repository.aliases(unreadable)) use.used.insert(target);
    const bool known = use.damaged.empty() && (unreadable == nullptr || unreadable->empty());
    for (const char* directory : layer_ref_directories) {
        for (const auto& [ref, commit] : repository.refs(directory, unreadable)) {
            if (!known) continue;
            if (!use.used.contains(ref)) use.unused.emplace(ref, commit);
        }
    }
    return use;
}

}  // namespace imaged
