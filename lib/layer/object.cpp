// SPDX-License-Identifier: Apache-2.0
#include "layer/object.hpp"

#include <glib.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/enum-names.hpp"
#include "base/error.hpp"

namespace imaged {

namespace {

Xattrs share(GVariant* variant) {
    return Xattrs(g_variant_ref_sink(variant), g_variant_unref);
}

GVariant* byte_array(std::string_view bytes) {
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes.data(), bytes.size(), 1);
}
GVariant* byte_array(const Checksum& checksum) {
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, checksum.bytes.data(), checksum.bytes.size(), 1);
}

GVariant* xattrs_or_empty(const Xattrs& xattrs) {
    return xattrs ? xattrs.get() : g_variant_new_array(G_VARIANT_TYPE("(ayay)"), nullptr, 0);
}

std::string serialised(GVariant* floating) {
    return bytes_of(adopt_variant(floating).get());
}

constexpr auto suffixes = enum_names<ObjectType>({{ObjectType::file, "file"},
                                                  {ObjectType::dirtree, "dirtree"},
                                                  {ObjectType::dirmeta, "dirmeta"},
                                                  {ObjectType::commit, "commit"}});

}  // namespace

std::string_view suffix(ObjectType type) {
    return suffixes.name(type);
}

std::string object_name(const Checksum& checksum, ObjectType type) {
    return checksum.hex() + "." + std::string(suffix(type));
}

Xattrs make_xattrs(const std::vector<std::pair<std::string, std::string>>& sorted) {
    if (sorted.empty()) return nullptr;
    GVariantBuilder builder;
    g_variant_builder_init(&builder, G_VARIANT_TYPE("a(ayay)"));
    for (const auto& [name, value] : sorted)
        g_variant_builder_add(&builder, "(@ay@ay)", byte_array(std::string_view(name.c_str(), name.size() + 1)),
                              byte_array(value));
    return share(g_variant_builder_end(&builder));
}

Xattrs parse_xattrs(std::string_view bytes) {
    const auto refuse = [](const char* why) {
        throw Error(ErrorKind::corrupt_input, std::string("extended attributes of an object: ") + why);
    };
    if (bytes.empty()) return nullptr;
    const auto variant = parse_variant(G_VARIANT_TYPE("a(ayay)"), bytes);
    if (g_variant_is_normal_form(variant.get()) == FALSE) refuse("not in normal form");
    Xattrs xattrs(g_variant_ref(variant.get()), g_variant_unref);
    std::string previous;
    for (const auto& [name, value] : xattr_list(xattrs)) {
        if (name.empty() || name.find('\0') != std::string::npos) refuse("a malformed name");
        if (!previous.empty() && previous >= name) refuse("not sorted by name");
        previous = name;
    }
    return xattrs;
}

std::vector<std::pair<std::string, std::string>> xattr_list(const Xattrs& xattrs) {
    std::vector<std::pair<std::string, std::string>> list;
    if (!xattrs) return list;
    GVariantIter iterator;
    g_variant_iter_init(&iterator, xattrs.get());
    GVariant *name = nullptr, *value = nullptr;
    while (g_variant_iter_next(&iterator, "(@ay@ay)", &name, &value) != FALSE) {
        const VariantPtr name_owner(name), value_owner(value);
        gsize name_size = 0, value_size = 0;
        const auto* name_data = static_cast<const char*>(g_variant_get_fixed_array(name, &name_size, 1));
        const auto* value_data = static_cast<const char*>(g_variant_get_fixed_array(value, &value_size, 1));
        // Stored with its NUL; one without becomes empty, which no caller takes for a name.
        const bool terminated = name_size > 1 && name_data[name_size - 1] == '\0';
        list.emplace_back(terminated ? std::string(name_data, name_size - 1) : std::string(),
                          std::string(value_data, value_size));
    }
    return list;
}

bool gives_rights(const FileMeta& meta) {
    const auto xattrs = xattr_list(meta.xattrs);
    return (meta.mode & (S_ISUID | S_ISGID)) != 0 || std::any_of(xattrs.begin(), xattrs.end(), [](const auto& xattr) {
               return xattr.first == "security.capability";
           });
}

std::string file_header(const FileMeta& meta, std::string_view target) {
    std::string header;
    const auto append_be = [](std::string& to, std::uint32_t value) {
        value = GUINT32_TO_BE(value);
        to.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    const std::size_t string_end = 16 + target.size() + 1;
    if (!meta.xattrs && string_end + 1 <= 255) {
        // The common case by hand: four numbers, the string, an empty array, and one offset byte that tells where the
        // string ends.
        for (const std::uint32_t value : {meta.uid, meta.gid, meta.mode, std::uint32_t{0}}) append_be(header, value);
        header.append(target);
        header.push_back('\0');
        header.push_back(static_cast<char>(string_end));
    } else {
        header = serialised(g_variant_new("(uuuus@a(ayay))", GUINT32_TO_BE(meta.uid), GUINT32_TO_BE(meta.gid),
                                          GUINT32_TO_BE(meta.mode), 0, std::string(target).c_str(),
                                          xattrs_or_empty(meta.xattrs)));
    }
    std::string framed;
    append_be(framed, static_cast<std::uint32_t>(header.size()));
    framed.append(4, '\0');
    return framed + header;
}

std::string serialise_dirmeta(const FileMeta& meta) {
    return serialise_user_meta(meta);
}

std::string serialise_user_meta(const FileMeta& meta) {
    return serialised(g_variant_new("(uuu@a(ayay))", GUINT32_TO_BE(meta.uid), GUINT32_TO_BE(meta.gid),
                                    GUINT32_TO_BE(meta.mode), xattrs_or_empty(meta.xattrs)));
}

FileMeta parse_dirmeta(std::string_view bytes) {
    const auto variant = parse_variant(G_VARIANT_TYPE("(uuua(ayay))"), bytes);
    FileMeta meta;
    GVariant* xattrs = nullptr;
    g_variant_get(variant.get(), "(uuu@a(ayay))", &meta.uid, &meta.gid, &meta.mode, &xattrs);
    const VariantPtr owner(xattrs);
    meta.uid = GUINT32_FROM_BE(meta.uid);
    meta.gid = GUINT32_FROM_BE(meta.gid);
    meta.mode = GUINT32_FROM_BE(meta.mode);
    if (g_variant_n_children(xattrs) > 0) meta.xattrs = Xattrs(g_variant_ref(xattrs), g_variant_unref);
    return meta;
}

std::string serialise_commit(const CommitContent& commit) {
    auto* metadata = commit.metadata ? commit.metadata.get() : g_variant_new_array(G_VARIANT_TYPE("{sv}"), nullptr, 0);
    auto* parent = commit.parent ? byte_array(*commit.parent) : byte_array(std::string_view());
    return serialised(g_variant_new("(@a{sv}@ay@a(say)sst@ay@ay)", metadata, parent,
                                    g_variant_new_array(G_VARIANT_TYPE("(say)"), nullptr, 0), "", "",
                                    GUINT64_TO_BE(commit.timestamp), byte_array(commit.tree), byte_array(commit.meta)));
}

}  // namespace imaged
