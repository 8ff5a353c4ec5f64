// SPDX-License-Identifier: Apache-2.0
#include "bus/dictionary.hpp"

#include <cstring>

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
    if (!value || !g_variant_is_of_type(value.get(), G_VARIANT_TYPE_VARDICT)) return;
    auto entries = std::make_shared<std::vector<Entry>>();
    const auto count = g_variant_n_children(value.get());
    entries->reserve(count);
    for (gsize i = 0; i < count; i++) {
        const Variant entry = child(value.get(), i);
        Variant key = child(entry.get(), 0);
        const char* name = g_variant_get_string(key.get(), nullptr);
        const Variant boxed = child(entry.get(), 1);
        entries->push_back({std::move(key), name, Variant(g_variant_get_variant(boxed.get()))});
    }
    entries_ = std::move(entries);
}

GVariant* Dictionary::value(const char* key) const {
    if (!entries_) return nullptr;
    for (const auto& entry : *entries_) {
        if (std::strcmp(entry.name, key) == 0) return entry.value.get();
    }
    return nullptr;
}

GVariant* Dictionary::value(const char* key, const char* type) const {
    GVariant* found = value(key);
    return found && g_variant_is_of_type(found, G_VARIANT_TYPE(type)) ? found : nullptr;
}

std::optional<std::string> Dictionary::text(const char* key) const {
    GVariant* found = value(key);
    if (!found || !(g_variant_is_of_type(found, G_VARIANT_TYPE_STRING) ||
                    g_variant_is_of_type(found, G_VARIANT_TYPE_OBJECT_PATH)))
        return {};
    return string_of(found);
}

std::optional<std::uint64_t> Dictionary::number(const char* key) const {
    GVariant* found = value(key);
    if (!found) return {};
    const auto signed_value = [](std::int64_t number) {
        return number < 0 ? std::optional<std::uint64_t>() : static_cast<std::uint64_t>(number);
    };
    switch (g_variant_classify(found)) {
        case G_VARIANT_CLASS_BYTE: return g_variant_get_byte(found);
        case G_VARIANT_CLASS_UINT16: return g_variant_get_uint16(found);
        case G_VARIANT_CLASS_UINT32: return g_variant_get_uint32(found);
        case G_VARIANT_CLASS_UINT64: return g_variant_get_uint64(found);
        case G_VARIANT_CLASS_INT16: return signed_value(g_variant_get_int16(found));
        case G_VARIANT_CLASS_INT32: return signed_value(g_variant_get_int32(found));
        case G_VARIANT_CLASS_INT64: return signed_value(g_variant_get_int64(found));
        default: return {};
    }
}

std::optional<double> Dictionary::real(const char* key) const {
    GVariant* found = value(key, "d");
    if (!found) return {};
    return g_variant_get_double(found);
}

std::optional<bool> Dictionary::flag(const char* key) const {
    GVariant* found = value(key, "b");
    if (!found) return {};
    return g_variant_get_boolean(found);
}

std::optional<std::pair<std::uint64_t, std::uint64_t>> Dictionary::pair(const char* key) const {
    if (GVariant* found = value(key, "(tt)")) {
        guint64 first = 0, second = 0;
        g_variant_get(found, "(tt)", &first, &second);
        return std::pair<std::uint64_t, std::uint64_t>(first, second);
    }
    if (GVariant* found = value(key, "(uu)")) {
        guint32 first = 0, second = 0;
        g_variant_get(found, "(uu)", &first, &second);
        return std::pair<std::uint64_t, std::uint64_t>(first, second);
    }
    return {};
}

std::vector<std::string> Dictionary::words(const char* key) const {
    std::vector<std::string> result;
    if (GVariant* found = value(key, "as")) {
        for (gsize i = 0; i < g_variant_n_children(found); i++) result.push_back(string_of(child(found, i).get()));
    }
    return result;
}

std::vector<Dictionary> Dictionary::list(const char* key) const {
    GVariant* found = value(key, "aa{sv}");
    return found ? dictionaries(found) : std::vector<Dictionary>();
}

std::map<std::string, std::string> Dictionary::texts(const char* key) const {
    std::map<std::string, std::string> result;
    GVariant* found = value(key, "a{ss}");
    if (!found) return result;
    GVariantIter entries;
    g_variant_iter_init(&entries, found);
    for (const char *name = nullptr, *text = nullptr; g_variant_iter_next(&entries, "{&s&s}", &name, &text);)
        result.emplace(name, text);
    return result;
}

std::map<std::string, std::map<std::string, std::uint32_t>> Dictionary::counts(const char* key) const {
    std::map<std::string, std::map<std::string, std::uint32_t>> result;
    GVariant* found = value(key, "a{sa{su}}");
    if (!found) return result;
    GVariantIter entries;
    g_variant_iter_init(&entries, found);
    const char* name = nullptr;
    for (GVariantIter* numbers = nullptr; g_variant_iter_loop(&entries, "{&sa{su}}", &name, &numbers);) {
        auto& paths = result[name];
        const char* path = nullptr;
        for (guint32 number = 0; g_variant_iter_next(numbers, "{&su}", &path, &number);) paths.emplace(path, number);
    }
    return result;
}

Dictionary Dictionary::dictionary(const char* key) const {
    GVariant* found = value(key, "a{sv}");
    return found ? Dictionary(Variant(g_variant_ref(found))) : Dictionary();
}

std::vector<Dictionary> dictionaries(GVariant* array) {
    std::vector<Dictionary> result;
    if (!g_variant_is_of_type(array, G_VARIANT_TYPE("aa{sv}"))) return result;
    for (gsize i = 0; i < g_variant_n_children(array); i++) result.emplace_back(child(array, i));
    return result;
}

}  // namespace imagectl
