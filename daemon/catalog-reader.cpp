// SPDX-License-Identifier: Apache-2.0
#include "catalog-reader.hpp"

#include <spdlog/spdlog.h>

#include <utility>

#include "base/error.hpp"

namespace imaged {

bool RemoteCatalog::open() {
    return process_.ask({{"what", "open"}}).get<bool>();
}

std::shared_ptr<const std::string> RemoteCatalog::list() {
    auto answer = process_.ask({{"what", "list"}, {"number", number_}});
    if (answer.contains("document")) {
        listed_ =
            std::make_shared<const std::string>(std::move(answer["document"].get_ref<nlohmann::json::string_t&>()));
        number_ = answer.at("number").get<std::uint64_t>();
    }
    return listed_;
}

nlohmann::json RemoteCatalog::describe(const ImageReference& image) {
    return process_.ask({{"what", "describe"}, {"image", image.canonical()}});
}

std::string RemoteCatalog::manifest(const ImageReference& image) {
    return process_.ask({{"what", "manifest"}, {"image", image.canonical()}}).get<std::string>();
}

std::string RemoteCatalog::config(const ImageReference& image) {
    return process_.ask({{"what", "config"}, {"image", image.canonical()}}).get<std::string>();
}

nlohmann::json RemoteCatalog::diff(const ImageReference& from, const std::optional<ImageReference>& to, bool files) {
    return process_.ask({{"what", "diff"},
                         {"image", from.canonical()},
                         {"to", to ? to->canonical() : std::string()},
                         {"files", files}});
}

nlohmann::json RemoteCatalog::deployments(const std::string& sysroot) {
    return process_.ask({{"what", "deployments"}, {"sysroot", sysroot}});
}

nlohmann::json RemoteCatalog::mode() {
    return process_.ask({{"what", "mode"}});
}

CatalogReader::CatalogReader(EventLoop& loop, std::string repository)
    : catalog_(std::make_shared<RemoteCatalog>(std::move(repository))), reader_(loop) {}

CatalogReader::~CatalogReader() {
    catalog_->end();
}

void CatalogReader::ask(const Caller& caller, Task task) {
    reader_.ask(caller, [catalog = catalog_, task = std::move(task)] { return task(*catalog); });
}

void CatalogReader::refresh_mode() noexcept try {
    look_again_ = looking_;
    if (looking_) return;
    ask({}, [this](RemoteCatalog& catalog) {
        nlohmann::json found;
        try {
            found = catalog.mode();
        } catch (const std::exception& error) {
            found = {{"mode", ""}, {"warning", std::string("cannot look at the repository: ") + error.what()}};
        }
        return EventLoop::Callback([this, found] {
            mode_ = found.value("mode", "");
            if (const auto warning = found.value("warning", ""); !warning.empty() && !std::exchange(warned_, true))
                spdlog::warn("{}", warning);
            looking_ = false;
            if (look_again_) refresh_mode();
        });
    });
    looking_ = true;
} catch (...) {
    // Too many requests wait; what was seen last holds.
}

}  // namespace imaged
