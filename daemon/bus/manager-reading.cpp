// SPDX-License-Identifier: Apache-2.0
// The manager's methods that only read: answered by the catalog reader's thread.
#include <memory>
#include <optional>
#include <utility>

#include "bus/manager.hpp"
#include "bus/variant.hpp"
#include "job/answers.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

namespace {

// A system bus disconnects imaged for a message of more than 32 MiB.
constexpr std::size_t max_document_bytes = 24 * 1024 * 1024;
// The same for dictionaries, as JSON: on the bus they are up to twice as long.
constexpr std::size_t max_dictionary_bytes = 12 * 1024 * 1024;
// Of the images as JSON; some ten thousand of them. imaged has this text twice while it is being sent, and then not.
constexpr std::size_t max_listing_bytes = 6 * 1024 * 1024;
// The same if they are sent as dictionaries, whose values take ten times as much memory as the text.
constexpr std::size_t max_listed_bytes = 2 * 1024 * 1024;

const nlohmann::json& fits(const nlohmann::json& answer, std::size_t most = max_dictionary_bytes) {
    if (json_text(answer).size() > most) throw Error(ErrorKind::failed, "the answer is too long for the bus");
    return answer;
}

std::string document(std::string text) {
    if (text.size() > max_document_bytes) throw Error(ErrorKind::failed, "the answer is too long for the bus");
    if (bus_text(text) != text) throw Error(ErrorKind::repository_damaged, "the document is not UTF-8");
    return text;
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
    const auto reference = ImageReference::parse(image);
    const Reply<Value> reply(std::move(result), activity_);
    ask_catalog(reply, [reply, reference, function = std::move(function)](RemoteCatalog& catalog) {
        try {
            if (!catalog.open())
                throw Error(ErrorKind::not_found, "image " + reference.image() + " is not in the repository");
            return EventLoop::Callback([reply, value = function(catalog, reference)] { reply.answer(value); });
        } catch (...) {
            return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
        }
    });
}

template <typename Form>
void Manager::list_images(sdbus::Result<Form>&& result, const VariantMap& options,
                          std::shared_ptr<const Form> (*make)(Listing& listing, RemoteCatalog* catalog)) {
    activity_.touch();
    refuse_all_options(options);
    const Reply<Form> reply(std::move(result), activity_);
    ask_catalog(reply, [reply, make, listing = listing_](RemoteCatalog& catalog) {
        try {
            auto* const opened = catalog.open() ? &catalog : nullptr;
            return EventLoop::Callback([reply, form = make(*listing, opened)] { reply.answer(*form); });
        } catch (...) {
            return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
        }
    });
}

void Manager::ListImages(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) {
    with_bus_errors([&] {
        using Maps = std::vector<VariantMap>;
        list_images<Maps>(std::move(result), options, [](Listing& listing, RemoteCatalog* catalog) {
            if (catalog == nullptr) return std::make_shared<const Maps>();
            auto number = listing.number;
            if (const auto document = catalog->list(number)) {
                listing = {};
                if (document->size() > max_listed_bytes)
                    throw Error(ErrorKind::failed,
                                "too many images for one answer in dictionaries; DescribeImages takes more");
                listing = {number, std::make_shared<const Maps>(
                                       to_variant_maps<job::ImageAnswer>(parse_json(*document).at("images")))};
            }
            return listing.maps;
        });
    });
}

void Manager::DescribeImages(sdbus::Result<std::string>&& result, VariantMap options) {
    with_bus_errors([&] {
        list_images<std::string>(std::move(result), options, [](Listing&, RemoteCatalog* catalog) {
            auto text = catalog != nullptr ? catalog->list() : std::make_shared<const std::string>(R"({"images":[]})");
            if (text->size() > max_listing_bytes) throw Error(ErrorKind::failed, "too many images for one answer");
            return text;
        });
    });
}

void Manager::name_images(JobTable::Listed listed) {
    try {
        catalog_.ask({}, [listed](RemoteCatalog& catalog) {
            try {
                std::vector<StoredName> images;
                const auto document = catalog.open() ? parse_json(*catalog.list()) : nlohmann::json::object();
                for (const auto& image : document.value("images", nlohmann::json::array())) {
                    auto& stored = images.emplace_back(StoredName{image.at("image").get<std::string>(), {}});
                    if (const auto source = image.find("source"); source != image.end())
                        stored.source = source->get<std::string>();
                }
                return EventLoop::Callback([listed, images] { listed(images, nullptr); });
            } catch (...) {
                return EventLoop::Callback([listed, error = current_error()] { listed({}, &error); });
            }
        });
    } catch (...) {
        const auto error = current_error();
        listed({}, &error);
    }
}

void Manager::GetImage(sdbus::Result<VariantMap>&& result, std::string image) {
    with_bus_errors([&] {
        read<VariantMap>(std::move(result), image, [](RemoteCatalog& catalog, const ImageReference& reference) {
            return to_variant_map<job::ImageDescription>(fits(catalog.describe(reference)));
        });
    });
}

void Manager::GetManifest(sdbus::Result<std::string>&& result, std::string image) {
    with_bus_errors([&] {
        read<std::string>(std::move(result), image, [](RemoteCatalog& catalog, const ImageReference& reference) {
            return document(catalog.manifest(reference));
        });
    });
}

void Manager::GetConfig(sdbus::Result<std::string>&& result, std::string image) {
    with_bus_errors([&] {
        read<std::string>(std::move(result), image, [](RemoteCatalog& catalog, const ImageReference& reference) {
            return document(catalog.config(reference));
        });
    });
}

void Manager::Diff(sdbus::Result<VariantMap>&& result, std::string from, std::string to, VariantMap options) {
    with_bus_errors([&] {
        const bool files = parse_flag("files", options);
        const auto other = to.empty() ? std::nullopt : std::optional(ImageReference::parse(to));
        read<VariantMap>(std::move(result), from,
                         [other, files](RemoteCatalog& catalog, const ImageReference& reference) {
                             return to_variant_map<job::FileDifference>(fits(catalog.diff(reference, other, files)));
                         });
    });
}

void Manager::ListDeployments(sdbus::Result<std::vector<VariantMap>>&& result, VariantMap options) {
    with_bus_errors([&] {
        activity_.touch();
        refuse_all_options(options);
        const Reply<std::vector<VariantMap>> reply(std::move(result), activity_);
        ask_catalog(reply, [reply, sysroot = settings_.sysroot](RemoteCatalog& catalog) {
            try {
                return EventLoop::Callback([reply, maps = to_variant_maps<job::ImageDeployment>(
                                                       fits(catalog.deployments(sysroot)))] { reply.answer(maps); });
            } catch (...) {
                return EventLoop::Callback([reply, error = current_error()] { reply.fail(error); });
            }
        });
    });
}

}  // namespace imaged
