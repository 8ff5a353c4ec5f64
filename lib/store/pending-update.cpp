// SPDX-License-Identifier: Apache-2.0
#include "store/pending-update.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr const char* cached_digest_key = "ostree-ext.cached.manifest-digest";
constexpr const char* cached_manifest_key = "ostree-ext.cached.manifest";
constexpr const char* cached_config_key = "ostree-ext.cached.config";

VariantPtr dictionary(const std::string& serialised) {
    const BytesPtr bytes(g_bytes_new(serialised.data(), serialised.size()));
    return adopt_variant(g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, bytes.get(), FALSE));
}

std::optional<std::string> text(GVariant* dictionary, const char* key) {
    const VariantPtr value(g_variant_lookup_value(dictionary, key, G_VARIANT_TYPE_STRING));
    if (!value) return std::nullopt;
    return g_variant_get_string(value.get(), nullptr);
}

}  // namespace

std::optional<std::string> PendingUpdate::load_digest(const Repository& repository, const Checksum& merge_commit) {
    const auto serialised = repository.detached_metadata(merge_commit);
    if (!serialised) return std::nullopt;
    return text(dictionary(*serialised).get(), cached_digest_key);
}

std::optional<PendingUpdate> PendingUpdate::load(const Repository& repository, const Checksum& merge_commit) {
    const auto serialised = repository.detached_metadata(merge_commit);
    if (!serialised) return std::nullopt;
    const auto metadata = dictionary(*serialised);
    auto digest = text(metadata.get(), cached_digest_key), manifest = text(metadata.get(), cached_manifest_key),
         config = text(metadata.get(), cached_config_key);
    if (!digest || !manifest || !config) return std::nullopt;
    return PendingUpdate{Digest::parse(*digest), *std::move(manifest), *std::move(config)};
}

bool PendingUpdate::store(Repository& repository, const Checksum& merge_commit,
                          const std::optional<PendingUpdate>& update) {
    const auto serialised = repository.detached_metadata(merge_commit);
    if (!serialised && !update) return false;
    const auto before = serialised ? dictionary(*serialised) : nullptr;
    GVariantDict builder;
    g_variant_dict_init(&builder, before.get());
    for (const char* key : {cached_digest_key, cached_manifest_key, cached_config_key})
        g_variant_dict_remove(&builder, key);
    if (update) {
        g_variant_dict_insert(&builder, cached_digest_key, "s", update->digest.text().c_str());
        g_variant_dict_insert(&builder, cached_manifest_key, "s", update->manifest_text.c_str());
        g_variant_dict_insert(&builder, cached_config_key, "s", update->config_text.c_str());
    }
    const auto after = adopt_variant(g_variant_dict_end(&builder));
    if (before && g_variant_equal(before.get(), after.get()) != FALSE) return false;
    const std::string bytes(static_cast<const char*>(g_variant_get_data(after.get())), g_variant_get_size(after.get()));
    // libostree keeps no empty metadata: nothing is written as an empty dictionary, which all readers take.
    repository.write_detached_metadata(merge_commit, bytes);
    return true;
}

MetadataStamp MetadataStamp::of(const Repository& repository, const Checksum& commit) {
    const auto hex = commit.hex();
    struct stat status;
    if (::fstatat(repository.objects(), (hex.substr(0, 2) + "/" + hex.substr(2) + ".commitmeta").c_str(), &status,
                  AT_SYMLINK_NOFOLLOW) != 0)
        return {};
    return {status.st_ino, static_cast<std::uint64_t>(status.st_size),
            status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec};
}

}  // namespace imaged
