// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/policy-layout.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "oci/digest.hpp"

namespace imaged {

namespace {

// An index.json with one manifest.
constexpr std::size_t max_policy_index_bytes = 64 * 1024;

}  // namespace

PolicyLayout::PolicyLayout(const BlobSizes& blobs) {
    const auto directory = path() / "blobs/sha256";
    std::filesystem::create_directories(directory);
    for (const auto& [text, size] : blobs) {
        const auto digest = Digest::find(text);
        if (!digest) throw Error(ErrorKind::failed, "policy check: no digest: " + text);
        // Without content, of the right size: skopeo does not fetch what is there.
        const auto file = open_at(AT_FDCWD, directory / digest->hex(), O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) throw_errno("prepare the policy check");
    }
}

std::string PolicyLayout::manifest_digest() const {
    const auto file = open_file(AT_FDCWD, path() / "index.json");
    const auto index = parse_json(read_all(file.get(), max_policy_index_bytes, "index.json"));
    const auto manifests = index.is_object() ? index.find("manifests") : index.end();
    if (!index.is_object() || manifests == index.end() || manifests->size() != 1)
        throw Error(ErrorKind::failed, "skopeo left no index of one manifest");
    return manifests->front().value("digest", std::string());
}

}  // namespace imaged
