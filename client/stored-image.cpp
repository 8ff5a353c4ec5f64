// SPDX-License-Identifier: Apache-2.0
#include "stored-image.hpp"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "command-line.hpp"
#include "image-list.hpp"

namespace imagectl {

namespace {

Variant ask(const Connection& connection, const char* method, const std::string& image) {
    Call call;
    call.method = method;
    call.arguments = adopt(g_variant_new("(s)", image.c_str()));
    return connection.call(std::move(call)).body;
}

// As many as lists print of a digest.
constexpr std::size_t shown_digest = 12, whole_digest = 64;
constexpr std::string_view digest_prefix = "sha256:";

bool is_hexadecimal(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// The name of the one image whose manifest or config has a digest that begins with DIGEST; nullopt if none has.
std::optional<std::string> name_of_digest(const Connection& connection, const std::string& digest) {
    std::vector<std::string> names;
    const auto images = listed_images(connection);
    for (const auto& image : images) {
        const auto has = [&](const char* key) {
            const auto* const text = image.text(key);
            return text != nullptr && text->starts_with(digest);
        };
        if (const auto* const name = image.text("image"); name != nullptr && (has("digest") || has("image-id")))
            names.emplace_back(*name);
    }
    if (names.empty()) return std::nullopt;
    if (names.size() == 1) return names.front();
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
    throw BusError("org.imaged1.Error.InvalidArgument",
                   "the digest " + digest + " belongs to several images; name one of them: " + all);
}

// What a person calls a stored image by: a digest or its beginning, or a name.
std::string resolved(const Connection& connection, const std::string& word) {
    if (word.starts_with(digest_prefix)) {
        if (auto name = name_of_digest(connection, word)) return *std::move(name);
        throw BusError("org.imaged1.Error.NotFound", "no stored image has the digest " + word);
    }
    if (word.size() >= shown_digest && word.size() <= whole_digest && is_hexadecimal(word))
        if (auto name = name_of_digest(connection, std::string(digest_prefix) + word)) return *std::move(name);
    return taken_image(word);
}

StoredImageAnswer ask_about_name(const Connection& connection, const char* method, const std::string& image) {
    const std::string absolute = absolute_image(image);
    if (absolute == image) return {image, ask(connection, method, image)};
    try {
        return {image, ask(connection, method, image)};
    } catch (const BusError& error) {
        if (error.name() != "org.imaged1.Error.NotFound") throw;
        return {absolute, ask(connection, method, absolute)};
    }
}

}  // namespace

StoredImageAnswer ask_about_image(const Connection& connection, const char* method, const std::string& given) {
    return ask_about_name(connection, method, resolved(connection, given));
}

std::string stored_name(const Connection& connection, const std::string& given) {
    const auto image = resolved(connection, given);
    const std::string absolute = absolute_image(image);
    if (absolute == image) return image;
    try {
        return ask_about_name(connection, "GetManifest", image).image;
    } catch (const BusError& error) {
        // One that cannot be read is stored all the same.
        return error.name() == "org.imaged1.Error.RepositoryDamaged" ? image : absolute;
    }
}

}  // namespace imagectl
