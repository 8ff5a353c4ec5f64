// SPDX-License-Identifier: Apache-2.0
#include "stored-image.hpp"

#include "command-line.hpp"

namespace imagectl {

namespace {

Variant ask(const Connection& connection, const char* method, const std::string& image) {
    Call call;
    call.method = method;
    call.arguments = adopt(g_variant_new("(s)", image.c_str()));
    return connection.call(std::move(call)).body;
}

}  // namespace

StoredImageAnswer ask_about_image(const Connection& connection, const char* method, const std::string& image) {
    const std::string absolute = absolute_image(image);
    if (absolute == image) return {image, ask(connection, method, image)};
    try {
        return {image, ask(connection, method, image)};
    } catch (const BusError& error) {
        if (error.name() != "org.imaged1.Error.NotFound") throw;
        return {absolute, ask(connection, method, absolute)};
    }
}

std::string stored_name(const Connection& connection, const std::string& image) {
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
