// SPDX-License-Identifier: Apache-2.0
#include "layer/staged-objects.hpp"

#include <vector>

#include "base/error.hpp"

namespace imaged {

namespace {

// So many objects are moved at once.
constexpr std::size_t batch_length = 1000;

PlacedType placed_type(ObjectType type, bool archive) {
    switch (type) {
        case ObjectType::file: return archive ? PlacedType::filez : PlacedType::file;
        case ObjectType::dirtree: return PlacedType::dirtree;
        case ObjectType::dirmeta: return PlacedType::dirmeta;
        case ObjectType::commit: return PlacedType::commit;
    }
    return PlacedType::file;
}

}  // namespace

std::string staged_name(const Checksum& checksum, ObjectType type) {
    return staged_name(checksum, placed_type(type, false));
}

std::string object_path(const Checksum& checksum, ObjectType type) {
    return object_path(checksum, placed_type(type, false));
}

void StagedObjects::add(const Name& name) {
    if (names_.size() == max_names)
        throw Error(ErrorKind::unsupported_image,
                    "more than the limit of " + std::to_string(max_names) + " objects in one layer or merged image");
    names_.push_back(name);
}

void StagedObjects::retain_dirtrees(const std::unordered_set<Checksum>& keep,
                                    const std::function<void(const Checksum&)>& drop) {
    for (std::size_t i = 0; i < names_.size(); ++i) {
        auto& name = names_[i];
        if (name.type != ObjectType::dirtree || name.state != State::staged || keep.contains(name.checksum)) continue;
        drop(name.checksum);
        name.state = State::dropped;
    }
}

void StagedObjects::publish(Scratch& scratch, int objects, const std::function<unsigned(const Checksum&)>& directory,
                            const std::function<void()>& before_commits) const {
    // A crash half-way must not leave a commit or a directory whose parts are missing.
    const auto rank = [](ObjectType type) {
        return type == ObjectType::commit ? 2 : type == ObjectType::dirtree ? 1 : 0;
    };
    std::vector<Placement> batch;
    const auto place = [&] {
        if (!batch.empty()) scratch.place(objects, batch);
        batch.clear();
    };
    for (const int round : {0, 1, 2}) {
        if (round == 2) {
            place();
            before_commits();
        }
        for (std::size_t i = 0; i < names_.size(); ++i) {
            const auto& [checksum, type, state] = names_[i];
            if (rank(type) != round || state == State::dropped) continue;
            const Placement placement{checksum, placed_type(type, archive_),
                                      static_cast<std::uint8_t>(directory(checksum))};
            if (state == State::present) {
                if (!is_placed(objects, placement)) throw_gone(placement);
                continue;
            }
            batch.push_back(placement);
            if (batch.size() == batch_length) place();
        }
    }
    place();
}

}  // namespace imaged
