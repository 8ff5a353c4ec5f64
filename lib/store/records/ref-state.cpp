// SPDX-License-Identifier: Apache-2.0
#include "store/records/ref-state.hpp"

#include <sys/stat.h>

#include <map>
#include <set>

#include "base/error.hpp"
#include "store/repository/kept-ref.hpp"
#include "store/repository/ref-name.hpp"

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
    if (!changed && !others_changed && value_ != Checksum{}) return false;
    const auto before = value_;
    value_ = compute();
    return changed || value_ != before;
}

Checksum RefState::compute() const {
    struct stat status;
    if (::fstat(repository_.objects(), &status) != 0) throw_errno("look at the objects of " + repository_.path());
    Sha256 hash;
    hash.update(std::to_string(status.st_ino) + "\n");
    for (const auto* const listing : {&images_, &kept_, &others_}) {
        for (const auto& [ref, commit] : std::map(listing->refs().begin(), listing->refs().end()))
            hash.update(ref + " " + commit.hex() + "\n");
        hash.update("\n");
    }
    return hash.finish();
}

}  // namespace imaged
