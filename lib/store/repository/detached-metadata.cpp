// SPDX-License-Identifier: Apache-2.0
#include "store/repository/detached-metadata.hpp"

#include <string_view>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr const char* copied_key = "imaged.copied";
constexpr const char* gpg_key = "ostree.gpgsigs";
constexpr const char* sign_prefix = "ostree.sign.";
const GVariantType* const signatures_type = G_VARIANT_TYPE("aay");

VariantPtr parse(const std::string& serialised) {
    return parse_variant(G_VARIANT_TYPE_VARDICT, serialised);
}

bool holds_signatures(std::string_view key) {
    return key == gpg_key || key.starts_with(sign_prefix);
}

// Visits each key with its signatures.
template <typename Visit>
void visit_signatures(GVariant* metadata, const Visit& visit) {
    GVariantIter iterator;
    g_variant_iter_init(&iterator, metadata);
    const char* key = nullptr;
    GVariant* raw = nullptr;
    while (g_variant_iter_next(&iterator, "{&sv}", &key, &raw) != FALSE) {
        const VariantPtr value(raw);
        if (holds_signatures(key) && g_variant_is_of_type(raw, signatures_type) != FALSE) visit(key, raw);
    }
}

std::size_t signature_bytes(GVariant* metadata) {
    std::size_t bytes = 0;
    visit_signatures(metadata, [&](const char*, GVariant* signatures) { bytes += g_variant_get_size(signatures); });
    return bytes;
}

bool contains(GVariant* signatures, GVariant* signature) {
    for (gsize i = 0; signatures != nullptr && i < g_variant_n_children(signatures); ++i) {
        const VariantPtr one(g_variant_get_child_value(signatures, i));
        if (g_variant_equal(one.get(), signature) != FALSE) return true;
    }
    return false;
}

// What OURS lacks of THEIRS comes after it, as long as it fits into ROOM.
VariantPtr united(GVariant* ours, GVariant* theirs, std::size_t& room) {
    GVariantBuilder builder;
    g_variant_builder_init(&builder, signatures_type);
    for (gsize i = 0; ours != nullptr && i < g_variant_n_children(ours); ++i) {
        const VariantPtr one(g_variant_get_child_value(ours, i));
        g_variant_builder_add_value(&builder, one.get());
    }
    for (gsize i = 0; i < g_variant_n_children(theirs); ++i) {
        const VariantPtr one(g_variant_get_child_value(theirs, i));
        const auto size = g_variant_get_size(one.get());
        if (size > room || contains(ours, one.get())) continue;
        room -= size;
        g_variant_builder_add_value(&builder, one.get());
    }
    return adopt_variant(g_variant_builder_end(&builder));
}

VariantPtr existing(const Repository& repository, const Checksum& commit) {
    const auto serialised = repository.detached_metadata(commit);
    auto metadata = parse(serialised.value_or(std::string()));
    // Treat invalid metadata as empty: no program can read it.
    return g_variant_is_normal_form(metadata.get()) != FALSE ? std::move(metadata) : parse({});
}

}  // namespace

void add_signatures(Repository& repository, const Checksum& commit, const std::string& metadata) {
    if (!repository.writer().replaces_metadata() && repository.has_object(ObjectType::commit, commit)) return;
    const auto theirs = parse(metadata);
    if (g_variant_is_normal_form(theirs.get()) == FALSE) return;
    if (signature_bytes(theirs.get()) > max_new_signature_bytes)
        throw Error(ErrorKind::unsupported_image, "the commit " + commit.hex() + " has signatures of more than " +
                                                      std::to_string(max_new_signature_bytes) + " bytes");
    const auto before = existing(repository, commit);
    const auto used = signature_bytes(before.get());
    auto room = used < max_signature_bytes ? max_signature_bytes - used : 0;
    GVariantDict after;
    g_variant_dict_init(&after, before.get());
    bool changed = false;
    visit_signatures(theirs.get(), [&](const char* key, GVariant* signatures) {
        const VariantPtr ours(g_variant_dict_lookup_value(&after, key, signatures_type));
        auto both = united(ours.get(), signatures, room);
        if (g_variant_n_children(both.get()) == (ours ? g_variant_n_children(ours.get()) : 0)) return;
        g_variant_dict_insert_value(&after, key, both.get());
        changed = true;
    });
    const auto result = adopt_variant(g_variant_dict_end(&after));
    if (changed) repository.write_detached_metadata(commit, bytes_of(result.get()));
}

void mark_copied(Repository& repository, const Checksum& commit) {
    if (is_copied(repository, commit)) return;
    const auto before = existing(repository, commit);
    GVariantDict after;
    g_variant_dict_init(&after, before.get());
    g_variant_dict_insert(&after, copied_key, "b", TRUE);
    const auto result = adopt_variant(g_variant_dict_end(&after));
    repository.write_detached_metadata(commit, bytes_of(result.get()));
}

bool is_copied(const Repository& repository, const Checksum& commit) {
    const auto serialised = repository.detached_metadata(commit);
    if (!serialised) return false;
    const auto metadata = parse(*serialised);
    if (g_variant_is_normal_form(metadata.get()) == FALSE) return true;
    return g_variant_lookup(metadata.get(), copied_key, "b", nullptr) != FALSE;
}

std::string without_mark(const std::string& metadata) {
    const auto before = parse(metadata);
    if (g_variant_lookup(before.get(), copied_key, "b", nullptr) == FALSE) return metadata;
    GVariantDict after;
    g_variant_dict_init(&after, before.get());
    g_variant_dict_remove(&after, copied_key);
    const auto result = adopt_variant(g_variant_dict_end(&after));
    return bytes_of(result.get());
}

}  // namespace imaged
