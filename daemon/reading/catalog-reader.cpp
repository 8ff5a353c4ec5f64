// SPDX-License-Identifier: Apache-2.0
#include "reading/catalog-reader.hpp"

#include <spdlog/spdlog.h>

#include <array>
#include <utility>

#include "base/json.hpp"

namespace imaged {

bool RemoteCatalog::open() {
    return process_.ask({{"what", "open"}}).get<bool>();
}

std::shared_ptr<const std::string> RemoteCatalog::list(std::uint64_t& number) {
    std::string document;
    const auto answer = process_.ask({{"what", "list"}, {"number", number}}, &document);
    has_listed_ = true;
    if (document.empty()) return nullptr;
    number = answer.at("number").get<std::uint64_t>();
    return std::make_shared<const std::string>(std::move(document));
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

ImageCounts RemoteCatalog::counts() {
    const nlohmann::json question{{"what", "counts"}};
    const auto counts = [&](ReaderProcess& process) {
        const auto answer = process.ask(question).get<std::array<std::uint32_t, 3>>();
        return ImageCounts{answer[0], answer[1], answer[2]};
    };
    if (has_listed_) return counts(process_);
    // Nobody has listed images yet: what it takes in memory goes with a process of its own.
    ReaderProcess once(repository_);
    const auto found = counts(once);
    once.finish();
    return found;
}

CatalogReader::CatalogReader(EventLoop& loop, const std::string& repository,
                             std::function<void(const ImageCounts& before)> counted)
    : catalog_(std::make_shared<RemoteCatalog>(repository)), counted_(std::move(counted)), reader_(loop) {}

CatalogReader::~CatalogReader() {
    catalog_->end();
}

void CatalogReader::ask(const Caller& caller, Task task) {
    reader_.ask(caller, [catalog = catalog_, task = std::move(task)] { return task(*catalog); });
}

template <typename Value>
void CatalogReader::look(Look& look, std::function<Value(RemoteCatalog&)> read,
                         std::function<void(const Value&)> take) noexcept try {
    look.again = look.runs;
    if (look.runs) return;
    ask({}, [this, &look, read, take](RemoteCatalog& catalog) {
        return EventLoop::Callback([this, &look, read, take, value = read(catalog)] {
            take(value);
            look.runs = false;
            if (look.again) this->look(look, read, take);
        });
    });
    look.runs = true;
} catch (...) {
    // Too many requests wait; what was seen last holds.
}

void CatalogReader::refresh_mode() noexcept {
    look<nlohmann::json>(
        mode_look_,
        [](RemoteCatalog& catalog) -> nlohmann::json {
            try {
                return catalog.mode();
            } catch (const std::exception& error) {
                return {{"mode", ""}, {"warning", std::string("cannot look at the repository: ") + error.what()}};
            }
        },
        [this](const nlohmann::json& found) {
            mode_ = found.value("mode", "");
            if (const auto warning = found.value("warning", ""); !warning.empty() && !std::exchange(warned_, true))
                spdlog::warn("{}", warning);
        });
}

void CatalogReader::refresh_counts() noexcept {
    look<ImageCounts>(
        counts_look_,
        [](RemoteCatalog& catalog) -> ImageCounts {
            try {
                return catalog.counts();
            } catch (const std::exception&) {
                return {};  // refresh_mode() warns
            }
        },
        [this](const ImageCounts& counts) { counted_(std::exchange(counts_, counts)); });
}

}  // namespace imaged
