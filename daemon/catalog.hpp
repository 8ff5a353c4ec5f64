// SPDX-License-Identifier: Apache-2.0
// What imaged asks of a repository, and the module that knows the answers.
//
// libostree brings some sixty libraries along. They live in imaged-catalog.so, which lies beside imaged and is loaded
// by the first call that reads: a daemon that only waits, or only queues jobs, stays small and starts quickly.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "oci/image-reference.hpp"

namespace imaged {

// The functions of ImageCatalog (store/image-catalog.hpp), callable without linking it. One thread at a time.
class Catalog {
public:
    virtual ~Catalog() = default;
    virtual std::shared_ptr<const nlohmann::json> list() = 0;
    virtual nlohmann::json describe(const ImageReference& image) = 0;
    virtual std::string manifest(const ImageReference& image) = 0;
    virtual std::string config(const ImageReference& image) = 0;
    virtual nlohmann::json diff(const ImageReference& from, const std::optional<ImageReference>& to, bool files) = 0;
};

// Loads the module if need be and opens REPOSITORY; null where none has been made yet. Throws Error(repository_damaged), or Error(failed) without the
// module.
std::unique_ptr<Catalog> open_catalog(const std::string& repository);

// The module's one symbol, which does as open_catalog() does; the caller owns what it returns.
using OpenCatalog = Catalog*(const std::string& repository);
inline constexpr const char* open_catalog_symbol = "imaged_open_catalog";

}  // namespace imaged
