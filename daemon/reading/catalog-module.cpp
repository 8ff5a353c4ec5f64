// SPDX-License-Identifier: Apache-2.0
// imaged-catalog.so: the catalog of lib/store behind the interface that imaged loads it by.
#include "base/json.hpp"
#include "reading/catalog.hpp"
#include "store/catalog/deployments.hpp"
#include "store/catalog/image-catalog.hpp"

namespace {

class StoreCatalog final : public imaged::Catalog {
public:
    explicit StoreCatalog(std::unique_ptr<imaged::ImageCatalog> catalog) : catalog_(std::move(catalog)) {}
    bool is_current() const override { return catalog_->is_current(); }
    std::shared_ptr<const std::string> list() override { return catalog_->list(); }
    nlohmann::json describe(const imaged::ImageReference& image) override { return catalog_->describe(image); }
    std::string manifest(const imaged::ImageReference& image) override { return catalog_->manifest(image); }
    std::string config(const imaged::ImageReference& image) override { return catalog_->config(image); }
    nlohmann::json diff(const imaged::ImageReference& from, const std::optional<imaged::ImageReference>& to,
                        bool files) override {
        return catalog_->diff(from, to, files);
    }

private:
    const std::unique_ptr<imaged::ImageCatalog> catalog_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) imaged::Catalog* imaged_open_catalog(const std::string& repository) {
    auto catalog = imaged::ImageCatalog::open_existing(repository);
    return catalog ? new StoreCatalog(std::move(catalog)) : nullptr;
}

extern "C" __attribute__((visibility("default"))) nlohmann::json* imaged_read_deployments(
    const std::string& sysroot, const std::string& repository) {
    return new nlohmann::json(imaged::list_deployments(sysroot, repository));
}
