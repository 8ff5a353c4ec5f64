// SPDX-License-Identifier: Apache-2.0
// The manager's methods that only read: answered by the catalog reader's thread.
#include <memory>
#include <optional>
#include <utility>

#include "manager.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

namespace {

// A system bus disconnects imaged for a message of more than 32 MiB.
constexpr std::size_t max_document_bytes = 24 * 1024 * 1024;
// The same for dictionaries, as JSON: on the bus they are up to twice as long.
constexpr std::size_t max_dictionary_bytes = 12 * 1024 * 1024;
// Bounds the answer of ListImages.
constexpr std::size_t max_listed_images = 50'000;

const nlohmann::json& fits(const nlohmann::json& answer, std::size_t most = max_dictionary_bytes) {
    if (json_text(answer).size() > most) throw Error(ErrorKind::failed, "the answer is too long for the bus");
    return answer;
}

std::vector<VariantMap> image_maps(const nlohmann::json& images) {
    return to_variant_maps(fits(images));
}

std::string document(std::string text) {
    if (text.size() > max_document_bytes) throw Error(ErrorKind::failed, "the answer is too long for the bus");
    if (bus_text(text) != text) throw Error(ErrorKind::repository_damaged, "the document is not UTF-8");
    return text;
}

// IMAGES as the bus is told in one string; null members are left out, as where they are dictionaries.
std::string image_document(const nlohmann::json& images) {
    nlohmann::json document{{"images", nlohmann::json::array()}};
    for (const auto& image : images) {
        auto described = nlohmann::json::object();
        for (const auto& [key, value] : image.items())
            if (!value.is_null()) described[key] = value;
        document["images"].push_back(std::move(described));
    }
    return imaged::document(json_text(document));
}

}  // namespace

template <typename... Values>
void Manager::ask_catalog(const Reply<Values...>& reply, CatalogReader::Task task) {
    with_caller(bus::sender(getObject()), reply,
                [this, task = std::move(task)](const Caller& caller) { catalog_.ask(caller, task); });
}

template <typename Value>
void Manager::read(sdbus::Result<Value>&& result, const std::string& image,
                   std::function<Value(RemoteCatalog&, const ImageReference&)> function) {
    activity_.touch();
    const auto reference = parse_reference(image);
    const Reply<Value> reply(std::move(result), activity_);
    ask_catalog(reply, [reply, reference, function = std::move(function)](RemoteCatalog& catalog) {
        try {
            if (!catalog.open()) throw Error(ErrorKind::not_found, "no such image: " + reference.image());
            return EventLoop::Callback([reply, value = function(catalog, reference)] { reply.answer(value); });
        } catch (...) {
            return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
        }
    });
}

template <typename Form>
void Manager::list_images(sdbus::Result<Form>&& result, const VariantMap& options,
                          std::shared_ptr<const Form> Listing::*member, Form (*make)(const nlohmann::json& images)) {
    activity_.touch();
    refuse_all_options(options);
    const Reply<Form> reply(std::move(result), activity_);
    ask_catalog(reply, [reply, member, make, listing = listing_](RemoteCatalog& catalog) {
        try {
            const auto images =
                catalog.open() ? catalog.list() : std::make_shared<const nlohmann::json>(nlohmann::json::array());
            if (images->size() > max_listed_images) throw Error(ErrorKind::failed, "too many images for one answer");
            if (listing->images != images) *listing = {images, nullptr, nullptr};
            auto& form = (*listing).*member;
            if (!form) form = std::make_shared<const Form>(make(*images));
            return EventLoop::Callback([reply, form] { reply.answer(*form); });
        } catch (...) {
            return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
        }
    });
}

void Manager::ListImages(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) {
    fenced([&] { list_images(std::move(result), options, &Listing::maps, image_maps); });
}

void Manager::DescribeImages(sdbus::Result<std::string>&& result, VariantMap options) {
    fenced([&] { list_images(std::move(result), options, &Listing::document, image_document); });
}

void Manager::GetImage(sdbus::Result<VariantMap>&& result, std::string image) {
    fenced([&] {
        read<VariantMap>(std::move(result), image, [](RemoteCatalog& catalog, const ImageReference& reference) {
            return to_variant_map(fits(catalog.describe(reference)));
        });
    });
}

void Manager::GetManifest(sdbus::Result<std::string>&& result, std::string image) {
    fenced([&] {
        read<std::string>(std::move(result), image, [](RemoteCatalog& catalog, const ImageReference& reference) {
            return document(catalog.manifest(reference));
        });
    });
}

void Manager::GetConfig(sdbus::Result<std::string>&& result, std::string image) {
    fenced([&] {
        read<std::string>(std::move(result), image, [](RemoteCatalog& catalog, const ImageReference& reference) {
            return document(catalog.config(reference));
        });
    });
}

void Manager::Diff(sdbus::Result<VariantMap>&& result, std::string from, std::string to, VariantMap options) {
    fenced([&] {
        const bool files = parse_flag("files", options);
        const auto other = to.empty() ? std::nullopt : std::optional(parse_reference(to));
        read<VariantMap>(std::move(result), from,
                         [other, files](RemoteCatalog& catalog, const ImageReference& reference) {
                             return to_variant_map(fits(catalog.diff(reference, other, files)));
                         });
    });
}

void Manager::ListDeployments(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) {
    fenced([&] {
        activity_.touch();
        refuse_all_options(options);
        const Reply<std::vector<VariantMap>> reply(std::move(result), activity_);
        ask_catalog(reply, [reply, sysroot = settings_.sysroot](RemoteCatalog& catalog) {
            try {
                return EventLoop::Callback(
                    [reply, maps = to_variant_maps(fits(catalog.deployments(sysroot)))] { reply.answer(maps); });
            } catch (...) {
                return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
            }
        });
    });
}

}  // namespace imaged
