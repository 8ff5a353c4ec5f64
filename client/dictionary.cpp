// SPDX-License-Identifier: Apache-2.0
#include "dictionary.hpp"

namespace imagectl {

namespace {

std::string string_of(GVariant* value) {
    gsize length = 0;
    const char* text = g_variant_get_string(value, &length);
    return std::string(text, length);
}

Variant child(GVariant* container, gsize index) {
    return Variant(g_variant_get_child_value(container, index));
}

}  // namespace

Variant adopt(GVariant* value) {
    return Variant(g_variant_take_ref(value));
}

Dictionary::Dictionary(Variant value) {
    if (value && g_variant_is_of_type(value.get(), G_VARIANT_TYPE_VARDICT))
        value_ = std::shared_ptr<GVariant>(value.release(), VariantDeleter());
}

bool Dictionary::empty() const {
    return !value_ || g_variant_n_children(value_.get()) == 0;
}

Variant Dictionary::value(const char* key) const {
    return Variant(value_ ? g_variant_lookup_value(value_.get(), key, nullptr) : nullptr);
}

Variant Dictionary::value(const char* key, const char* type) const {
    Variant found = value(key);
    if (found && !g_variant_is_of_type(found.get(), G_VARIANT_TYPE(type))) found.reset();
    return found;
}

std::optional<std::string> Dictionary::text(const char* key) const {
    const Variant found = value(key);
    if (!found || !(g_variant_is_of_type(found.get(), G_VARIANT_TYPE_STRING) ||
                    g_variant_is_of_type(found.get(), G_VARIANT_TYPE_OBJECT_PATH)))
        return {};
    return string_of(found.get());
}

std::optional<std::uint64_t> Dictionary::number(const char* key) const {
    const Variant found = value(key);
    if (!found) return {};
    const auto signed_value = [](std::int64_t number) {
        return number < 0 ? std::optional<std::uint64_t>() : static_cast<std::uint64_t>(number);
    };
    switch (g_variant_classify(found.get())) {
        case G_VARIANT_CLASS_BYTE: return g_variant_get_byte(found.get());
        case G_VARIANT_CLASS_UINT16: return g_variant_get_uint16(found.get());
        case G_VARIANT_CLASS_UINT32: return g_variant_get_uint32(found.get());
        case G_VARIANT_CLASS_UINT64: return g_variant_get_uint64(found.get());
        case G_VARIANT_CLASS_INT16: return signed_value(g_variant_get_int16(found.get()));
        case G_VARIANT_CLASS_INT32: return signed_value(g_variant_get_int32(found.get()));
        case G_VARIANT_CLASS_INT64: return signed_value(g_variant_get_int64(found.get()));
        default: return {};
    }
}

std::optional<double> Dictionary::real(const char* key) const {
    const Variant found = value(key, "d");
    if (!found) return {};
    return g_variant_get_double(found.get());
}

std::optional<bool> Dictionary::flag(const char* key) const {
    const Variant found = value(key, "b");
    if (!found) return {};
    return g_variant_get_boolean(found.get());
}

std::optional<std::pair<std::uint64_t, std::uint64_t>> Dictionary::pair(const char* key) const {
    if (const Variant found = value(key, "(tt)")) {
        guint64 first = 0, second = 0;
        g_variant_get(found.get(), "(tt)", &first, &second);
        return std::pair<std::uint64_t, std::uint64_t>(first, second);
    }
    if (const Variant found = value(key, "(uu)")) {
        guint32 first = 0, second = 0;
        g_variant_get(found.get(), "(uu)", &first, &second);
        return std::pair<std::uint64_t, std::uint64_t>(first, second);
    }
    return {};
}

std::vector<std::string> Dictionary::words(const char* key) const {
    std::vector<std::string> result;
    if (const Variant found = value(key, "as")) {
        for (gsize i = 0; i < g_variant_n_children(found.get()); i++)
            result.push_back(string_of(child(found.get(), i).get()));
    }
    return result;
}

std::vector<Dictionary> Dictionary::list(const char* key) const {
    const Variant found = value(key, "aa{sv}");
    return found ? dictionaries(found.get()) : std::vector<Dictionary>();
}

std::vector<std::pair<std::string, std::string>> Dictionary::texts(const char* key) const {
    std::vector<std::pair<std::string, std::string>> result;
    if (const Variant found = value(key, "a{ss}")) {
        for (gsize i = 0; i < g_variant_n_children(found.get()); i++) {
            const Variant entry = child(found.get(), i);
            result.emplace_back(string_of(child(entry.get(), 0).get()), string_of(child(entry.get(), 1).get()));
        }
    }
    return result;
}

std::vector<std::pair<std::string, std::vector<std::pair<std::string, std::uint32_t>>>> Dictionary::counts(
    const char* key) const {
    std::vector<std::pair<std::string, std::vector<std::pair<std::string, std::uint32_t>>>> result;
    const Variant found = value(key, "a{sa{su}}");
    if (!found) return result;
    for (gsize i = 0; i < g_variant_n_children(found.get()); i++) {
        const Variant entry = child(found.get(), i);
        const Variant inner = child(entry.get(), 1);
        auto& [name, numbers] = result.emplace_back();
        name = string_of(child(entry.get(), 0).get());
        for (gsize k = 0; k < g_variant_n_children(inner.get()); k++) {
            const Variant item = child(inner.get(), k);
            numbers.emplace_back(string_of(child(item.get(), 0).get()),
                                 g_variant_get_uint32(child(item.get(), 1).get()));
        }
    }
    return result;
}

Dictionary Dictionary::dictionary(const char* key) const {
    return Dictionary(value(key, "a{sv}"));
}

std::vector<Dictionary> dictionaries(GVariant* array) {
    std::vector<Dictionary> result;
    if (!g_variant_is_of_type(array, G_VARIANT_TYPE("aa{sv}"))) return result;
    for (gsize i = 0; i < g_variant_n_children(array); i++) result.emplace_back(child(array, i));
    return result;
}

}  // namespace imagectl
