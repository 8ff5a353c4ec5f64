// SPDX-License-Identifier: Apache-2.0
#include "store/records/pending-update.hpp"

namespace imaged {

namespace {

constexpr const char* cached_digest_key = "ostree-ext.cached.manifest-digest";
constexpr const char* cached_manifest_key = "ostree-ext.cached.manifest";
constexpr const char* cached_config_key = "ostree-ext.cached.config";
constexpr const char* updates_key = "imaged.updates";
constexpr const char* documents_key = "imaged.update-documents";

struct Documents {
    std::string manifest, config;
};

// All that is known of a merge commit's images.
struct Updates {
    UpdateDigests digests;
    std::map<std::string, Documents> documents;  // by digest
};

std::optional<std::string> text(GVariant* dictionary, const char* key) {
    const VariantPtr value(g_variant_lookup_value(dictionary, key, G_VARIANT_TYPE_STRING));
    if (!value) return std::nullopt;
    return g_variant_get_string(value.get(), nullptr);
}

UpdateDigests digests_of(GVariant* metadata) {
    UpdateDigests digests;
    const VariantPtr list(g_variant_lookup_value(metadata, updates_key, G_VARIANT_TYPE("a{ss}")));
    if (!list) {
        digests.of_all = text(metadata, cached_digest_key);
        return digests;
    }
    for (gsize i = 0; i < g_variant_n_children(list.get()); ++i) {
        const char *image = nullptr, *digest = nullptr;
        const VariantPtr child(g_variant_get_child_value(list.get(), i));
        g_variant_get(child.get(), "{&s&s}", &image, &digest);
        digests.by_image.emplace(image, digest);
    }
    return digests;
}

Updates updates_of(GVariant* metadata) {
    Updates updates{digests_of(metadata), {}};
    const VariantPtr list(g_variant_lookup_value(metadata, documents_key, G_VARIANT_TYPE("a{s(ss)}")));
    for (gsize i = 0; list && i < g_variant_n_children(list.get()); ++i) {
        const char *digest = nullptr, *manifest = nullptr, *config = nullptr;
        const VariantPtr child(g_variant_get_child_value(list.get(), i));
        g_variant_get(child.get(), "{&s(&s&s)}", &digest, &manifest, &config);
        updates.documents[digest] = {manifest, config};
    }
    const auto digest = text(metadata, cached_digest_key), manifest = text(metadata, cached_manifest_key),
               config = text(metadata, cached_config_key);
    if (digest && manifest && config) updates.documents[*digest] = {*manifest, *config};
    return updates;
}

// METADATA with UPDATES in place of those that it has. Those of PREFERRED, if it has any, go where other programs look.
VariantPtr with_updates(GVariant* metadata, const Updates& updates, const std::string& preferred) {
    GVariantDict builder;
    g_variant_dict_init(&builder, metadata);
    for (const char* key : {cached_digest_key, cached_manifest_key, cached_config_key, updates_key, documents_key})
        g_variant_dict_remove(&builder, key);
    const auto& digests = updates.digests.by_image;
    if (!digests.empty()) {
        const auto found = digests.find(preferred);
        const auto shown = found != digests.end() ? found->second : digests.begin()->second;
        std::map<std::string, Documents> others;
        GVariantBuilder list;
        g_variant_builder_init(&list, G_VARIANT_TYPE("a{ss}"));
        for (const auto& [image, digest] : digests) {
            g_variant_builder_add(&list, "{ss}", image.c_str(), digest.c_str());
            if (digest != shown) others[digest] = updates.documents.at(digest);
        }
        g_variant_dict_insert_value(&builder, updates_key, g_variant_builder_end(&list));
        const auto& [manifest, config] = updates.documents.at(shown);
        g_variant_dict_insert(&builder, cached_digest_key, "s", shown.c_str());
        g_variant_dict_insert(&builder, cached_manifest_key, "s", manifest.c_str());
        g_variant_dict_insert(&builder, cached_config_key, "s", config.c_str());
        if (!others.empty()) {
            g_variant_builder_init(&list, G_VARIANT_TYPE("a{s(ss)}"));
            for (const auto& [digest, texts] : others)
                g_variant_builder_add(&list, "{s(ss)}", digest.c_str(), texts.manifest.c_str(), texts.config.c_str());
            g_variant_dict_insert_value(&builder, documents_key, g_variant_builder_end(&list));
        }
    }
    return adopt_variant(g_variant_dict_end(&builder));
}

}  // namespace

UpdateDigests UpdateDigests::load(const Repository& repository, const Checksum& merge_commit) {
    const auto serialised = repository.detached_metadata(merge_commit);
    return serialised ? digests_of(parse_variant(G_VARIANT_TYPE_VARDICT, *serialised).get()) : UpdateDigests();
}

std::optional<std::string> UpdateDigests::of(const std::string& image) const {
    const auto found = by_image.find(image);
    return found != by_image.end() ? std::optional(found->second) : of_all;
}

std::optional<PendingUpdate> PendingUpdate::load(const Repository& repository, const Checksum& merge_commit,
                                                 const std::string& image) {
    const auto serialised = repository.detached_metadata(merge_commit);
    if (!serialised) return std::nullopt;
    auto updates = updates_of(parse_variant(G_VARIANT_TYPE_VARDICT, *serialised).get());
    const auto digest = updates.digests.of(image);
    const auto found = digest ? updates.documents.find(*digest) : updates.documents.end();
    if (found == updates.documents.end()) return std::nullopt;
    return PendingUpdate{Digest::parse(*digest), std::move(found->second.manifest), std::move(found->second.config)};
}

bool PendingUpdate::store(Repository& repository, const Checksum& merge_commit, const std::string& image,
                          const std::optional<PendingUpdate>& update) {
    const auto serialised = repository.detached_metadata(merge_commit);
    if (!serialised && !update) return false;
    const auto before = serialised ? parse_variant(G_VARIANT_TYPE_VARDICT, *serialised) : nullptr;
    auto updates = before ? updates_of(before.get()) : Updates();
    auto& digests = updates.digests.by_image;
    digests.erase(image);
    if (update) {
        digests[image] = update->digest.text();
        updates.documents[update->digest.text()] = {update->manifest_text, update->config_text};
    }
    // Some other program's, or damage.
    std::erase_if(digests, [&](const auto& entry) { return !updates.documents.contains(entry.second); });
    const auto after = with_updates(before.get(), updates, image);
    if (before && g_variant_equal(before.get(), after.get()) != FALSE) return false;
    // libostree keeps no empty metadata: nothing is written as an empty dictionary, which all readers take.
    repository.write_detached_metadata(merge_commit, bytes_of(after.get()));
    return true;
}

}  // namespace imaged
