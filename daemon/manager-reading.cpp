// SPDX-License-Identifier: Apache-2.0
// The manager's methods that only read: answered by the catalog reader's thread.
#include <memory>
#include <optional>
#include <utility>

#include "manager.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

namespace {

// The bus takes 128 MiB a message; a document over this was not stored by us.
constexpr std::size_t max_document_bytes = 32 * 1024 * 1024;
// Bounds the answer of ListImages.
constexpr std::size_t max_listed_images = 50'000;

std::string document(std::string text) {
    if (text.size() > max_document_bytes) throw Error(ErrorKind::failed, "the document is too long for the bus");
    if (bus_text(text) != text) throw Error(ErrorKind::repository_damaged, "the document is not UTF-8");
    return text;
}

}  // namespace

template <typename Value>
void Manager::read(sdbus::Result<Value>&& result, const std::string& image,
                   std::function<Value(Catalog&, const ImageReference&)> function) {
    activity_.touch();
    const auto reference = parse_reference(image);
    const Reply<Value> reply(std::move(result), activity_);
    catalog_.ask([reply, reference, function = std::move(function)](const CatalogReader::Open& open) {
        try {
            auto* catalog = open();
            if (catalog == nullptr) throw Error(ErrorKind::not_found, "no such image: " + reference.image());
            return EventLoop::Callback([reply, value = function(*catalog, reference)] { reply.answer(value); });
        } catch (...) {
            return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
        }
    });
}

void Manager::ListImages(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) {
    fenced([&] {
        activity_.touch();
        refuse_all_options(options);
        const Reply<std::vector<VariantMap>> reply(std::move(result), activity_);
        catalog_.ask([reply, listing = listing_](const CatalogReader::Open& open) {
            try {
                auto* catalog = open();
                const auto images = catalog == nullptr ? nullptr : catalog->list();
                if (images && images->size() > max_listed_images)
                    throw Error(ErrorKind::failed, "too many images for one answer");
                if (!listing->maps || listing->images != images) {
                    listing->maps = std::make_shared<const std::vector<VariantMap>>(images ? to_variant_maps(*images)
                                                                                           : std::vector<VariantMap>());
                    listing->images = images;
                }
                return EventLoop::Callback([reply, maps = listing->maps] { reply.answer(*maps); });
            } catch (...) {
                return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
            }
        });
    });
}

void Manager::GetImage(sdbus::Result<VariantMap>&& result, std::string image) {
    fenced([&] {
        read<VariantMap>(std::move(result), image, [](Catalog& catalog, const ImageReference& reference) {
            return to_variant_map(catalog.describe(reference));
        });
    });
}

void Manager::GetManifest(sdbus::Result<std::string>&& result, std::string image) {
    fenced([&] {
        read<std::string>(std::move(result), image, [](Catalog& catalog, const ImageReference& reference) {
            return document(catalog.manifest(reference));
        });
    });
}

void Manager::GetConfig(sdbus::Result<std::string>&& result, std::string image) {
    fenced([&] {
        read<std::string>(std::move(result), image, [](Catalog& catalog, const ImageReference& reference) {
            return document(catalog.config(reference));
        });
    });
}

void Manager::Diff(sdbus::Result<VariantMap>&& result, std::string from, std::string to, VariantMap options) {
    fenced([&] {
        const bool files = parse_flag("files", options);
        const auto other = to.empty() ? std::nullopt : std::optional(parse_reference(to));
        read<VariantMap>(std::move(result), from, [other, files](Catalog& catalog, const ImageReference& reference) {
            return to_variant_map(catalog.diff(reference, other, files));
        });
    });
}

void Manager::ListDeployments(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) {
    fenced([&] {
        activity_.touch();
        refuse_all_options(options);
        const Reply<std::vector<VariantMap>> reply(std::move(result), activity_);
        catalog_.ask([reply, sysroot = settings_.sysroot, repository = settings_.repository](const auto&) {
            try {
                return EventLoop::Callback(
                    [reply, maps = to_variant_maps(read_deployments(sysroot, repository))] { reply.answer(maps); });
            } catch (...) {
                return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
            }
        });
    });
}

}  // namespace imaged
