// SPDX-License-Identifier: Apache-2.0
// Reads what a repository holds: list, show, manifest, config. Takes no lock, so a running job never delays it, and
// writes nothing but a hint for the next process (known-entries.hpp).
//
// An ImageCatalog belongs to one thread at a time. Commits never change under their checksum, so what was read once is
// kept for as long as a ref names it; a listing costs one look at each ref.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/json-fwd.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

class ImageCatalog {
public:
    // Null if no repository has been made yet. Throws Error(repository_damaged) if PATH cannot be opened as an OSTree
    // repository.
    static std::unique_ptr<ImageCatalog> open_existing(const std::string& path);
    virtual ~ImageCatalog() = default;

    // Whether what is open is still what is at PATH: the repository, its objects directory and its configuration. A few
    // calls of stat(2).
    virtual bool is_current() const = 0;

    // The answer of org.imaged1.Manager.DescribeImages: {"images": […]}, objects with the keys of ListImages, ordered
    // by reference. Unreadable images are listed as damaged. The same pointer means that nothing has changed since the
    // last call. As text, which takes a quarter of the memory that the values would.
    virtual std::shared_ptr<const std::string> list() = 0;
    // The keys of org.imaged1.Manager.GetImage. Throw Error(not_found) or Error(repository_damaged).
    virtual nlohmann::json describe(const ImageReference& image) = 0;
    // The stored JSON texts, byte for byte.
    virtual std::string manifest(const ImageReference& image) = 0;
    virtual std::string config(const ImageReference& image) = 0;
    // The keys of org.imaged1.Manager.Diff; see diff_images().
    virtual nlohmann::json diff(const ImageReference& from, const std::optional<ImageReference>& to, bool files) = 0;
};

}  // namespace imaged
