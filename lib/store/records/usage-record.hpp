// SPDX-License-Identifier: Apache-2.0
// Stores the counted disk usage of each image (store/upkeep/usage-count.hpp), for listings only: nothing is deleted
// because of it.
//
// On disk: extensions/imaged/usage.json, {"state": CHECKSUM, "images": {"IMAGE": [BYTES, BYTES OF ITS OWN]}}, replaced
// by rename(2). It counts for as long as the refs are those of the state (ref-state.hpp), and in this repository only.
// A file that cannot be read counts as empty: sizes are unknown then until they are counted again.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/checksum.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

class UsageRecord {
public:
    struct Size {
        std::uint64_t bytes = 0, unique = 0;
    };

    UsageRecord() = default;
    UsageRecord(const Checksum& state, std::map<std::string, Size> images)
        : state_(state), images_(std::move(images)) {}

    // REPOSITORY is the repository's directory. Throws where the system cannot read the record (record-file.hpp).
    static UsageRecord read(int repository);
    void write(RepositoryWriter& writer) const;

    bool empty() const { return images_.empty(); }
    // Whether it counts while the refs are in STATE.
    bool is_of(const Checksum& state) const { return !empty() && state == state_; }
    // Null unless the size of IMAGE was counted when the refs were in STATE.
    const Size* size_of(const std::string& image, const Checksum& state) const;

    static constexpr const char* path = "extensions/imaged/usage.json";

private:
    Checksum state_;
    std::map<std::string, Size> images_;
};

}  // namespace imaged
