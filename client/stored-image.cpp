// SPDX-License-Identifier: Apache-2.0
#include "stored-image.hpp"

#include <set>

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

// NAME, or if it is the beginning of a digest, of manifest or config, the name of the image that has it.
std::string name_of_digest(const Connection& connection, const std::string& name) {
    if (!name.starts_with("sha256:")) return name;
    Call call;
    call.method = "DescribeImages";
    call.arguments = adopt(g_variant_new("(a{sv})", nullptr));
    const auto answer = connection.call(std::move(call)).body;
    const char* document = nullptr;
    g_variant_get(answer.get(), "(&s)", &document);
    std::string found;
    std::set<std::string> digests;
    for (const auto& image : listed_images(document)) {
        const auto *reference = image.text("image"), *digest = image.text("digest"), *id = image.text("image-id");
        if (reference == nullptr || digest == nullptr) continue;
        if (!digest->starts_with(name) && (id == nullptr || !id->starts_with(name))) continue;
        if (found.empty()) found = *reference;
        digests.insert(*digest);
    }
    if (found.empty()) throw BusError("org.imaged1.Error.NotFound", "no stored image has the digest " + name);
    if (digests.size() > 1)
        throw BusError("org.imaged1.Error.InvalidArgument", "several images have digests that begin with " + name);
    return found;
}

}  // namespace

StoredImageAnswer ask_about_image(const Connection& connection, const char* method, const std::string& given) {
    const auto image = name_of_digest(connection, given);
    const std::string absolute = absolute_image(image);
    if (absolute == image) return {image, ask(connection, method, image)};
    try {
        return {image, ask(connection, method, image)};
    } catch (const BusError& error) {
        if (error.name() != "org.imaged1.Error.NotFound") throw;
        return {absolute, ask(connection, method, absolute)};
    }
}

std::string stored_name(const Connection& connection, const std::string& given) {
    const auto image = name_of_digest(connection, given);
    const std::string absolute = absolute_image(image);
    if (absolute == image) return image;
    try {
        return ask_about_image(connection, "GetManifest", image).image;
    } catch (const BusError& error) {
        // One that cannot be read is stored all the same.
        return error.name() == "org.imaged1.Error.RepositoryDamaged" ? image : absolute;
    }
}

}  // namespace imagectl
