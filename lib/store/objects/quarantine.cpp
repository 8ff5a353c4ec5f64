// SPDX-License-Identifier: Apache-2.0
#include "store/objects/quarantine.hpp"

#include <cerrno>
#include <cstdio>

#include "base/directory.hpp"
#include "base/error.hpp"

namespace imaged {

Quarantine::Quarantine(const Repository& repository, StagingArea& staging)
    : repository_(repository), scratch_(staging.make_scratch()) {}

Quarantine::~Quarantine() {
    for (const auto& object : taken_) {
        const auto path = path_of(object);
        if (!exists(repository_.objects(), path))
            ::renameat(scratch_->fd(), object.c_str(), repository_.objects(), path.c_str());
    }
}

std::string Quarantine::path_of(const std::string& object) const {
    const auto path = object_path(object);
    return path.ends_with(".file") ? path.substr(0, path.size() - 5) + repository_.file_suffix() : path;
}

void Quarantine::take(const std::string& object) {
    if (::renameat(repository_.objects(), path_of(object).c_str(), scratch_->fd(), object.c_str()) == 0) {
        taken_.push_back(object);
    } else if (errno != ENOENT) {
        throw_errno("move the bad object " + object + " away");
    }
}

}  // namespace imaged
