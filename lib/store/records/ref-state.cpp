// SPDX-License-Identifier: Apache-2.0
#include "store/records/ref-state.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/ref-name.hpp"

namespace imaged {

namespace {

std::set<std::string> listed_elsewhere() {
    std::set<std::string> paths;
    const auto add = [&](const char* directory) { paths.insert(std::string("refs/heads/") + directory); };
    add(image_ref_directory);
    add(kept_ref_directory);
    for (const auto* directory : layer_ref_directories) add(directory);
    return paths;
}

}  // namespace

RefState::RefState(const Repository& repository)
    : repository_(repository),
      images_(repository.fd(), image_ref_directory),
      kept_(repository.fd(), kept_ref_directory),
      others_(RefListing::of_all(repository.fd(), listed_elsewhere())) {}

bool RefState::refresh() {
    // Each looks again, whatever another found.
    bool changed = images_.refresh();
    changed |= kept_.refresh();
    const bool others_changed = others_.refresh();
    if (!changed && !others_changed && !is_new_) return false;
    is_new_ = false;
    const auto before = std::exchange(value_, std::nullopt);
    return changed || !before || value() != *before;
}

const Checksum& RefState::value() const {
    if (!value_) value_ = compute();
    return *value_;
}

Checksum RefState::compute() const {
    struct stat status;
    if (::fstat(repository_.objects(), &status) != 0) throw_errno("look at the objects of " + repository_.path());
    Sha256 hash;
    hash.update(std::to_string(status.st_ino) + "\n");
    for (const auto* const listing : {&images_, &kept_, &others_}) {
        const auto& refs = listing->refs();
        std::vector<std::pair<std::string_view, const std::optional<Checksum>*>> sorted;
        sorted.reserve(refs.size());
        for (const auto& [ref, commit] : refs) sorted.emplace_back(ref, &commit);
        std::sort(sorted.begin(), sorted.end());
        for (const auto& [ref, commit] : sorted)
            hash.update(std::string(ref) + " " + (*commit ? (*commit)->hex() : "") + "\n");
        hash.update("\n");
    }
    return hash.finish();
}

}  // namespace imaged
