// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/prune-record.hpp"

#include <fcntl.h>

#include <cstddef>
#include <set>
#include <string>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/file-stamp.hpp"
#include "base/hex-byte.hpp"
#include "base/json.hpp"
#include "store/files/record-file.hpp"
#include "store/files/ref-file.hpp"
#include "store/objects/object-listing.hpp"
#include "store/upkeep/deployed-commits.hpp"

namespace imaged {

namespace {

constexpr const char* prune_record = "pruned";
constexpr const char* foreign_commits_key = "foreign-commits";
constexpr std::size_t max_prune_record_bytes = 4096;

// A hash of texts and stamps.
class PruneState {
public:
    explicit PruneState(int repository) : repository_(repository) {}

    void add(const std::string& text) { hash_.update(text + "\n"); }
    // A file or a directory.
    void add_stamp(const std::string& path) {
        const auto stamp = FileStamp::of(repository_, path);
        is_settled_ &= is_settled(stamp.changed);
        add(path);
        add(std::to_string(stamp.inode) + " " + std::to_string(stamp.changed));
    }
    // The directory PATH of refs, with all below it.
    void add_refs(const std::string& path) {
        add_stamp(path);
        std::set<std::string> files, links, directories;
        visit_directory(try_open_at(repository_, path, O_RDONLY | O_DIRECTORY), path, [&](const DirectoryEntry& entry) {
            const bool is_directory = kind_of(repository_, path, entry) == RefEntryKind::directory;
            auto& names = is_directory ? directories : entry.is_link ? links : files;
            names.insert(path + "/" + entry.name);
        });
        for (const auto& file : files) add_stamp(file);
        // What an alias leads to may be outside of the repository.
        for (const auto& link : links) add(link + " " + hex_of(read_ref_file(repository_, link).commit));
        for (const auto& directory : directories) add_refs(directory);
    }
    std::optional<Checksum> finish() { return is_settled_ ? std::optional(hash_.finish()) : std::nullopt; }

private:
    static std::string hex_of(const std::optional<Checksum>& commit) { return commit ? commit->hex() : ""; }

    const int repository_;
    Sha256 hash_;
    bool is_settled_ = true;
};

}  // namespace

PruneRecord::PruneRecord(const Repository& repository, const PruneRequest& request) : repository_(repository) {
    // The objects of a parent repository are not ours to watch.
    if (repository.has_parent()) return;
    PruneState state(repository.fd());
    state.add("imaged " IMAGED_VERSION " " + std::to_string(request.keep) + " " +
              std::to_string(static_cast<int>(request.foreign_commits)));
    state.add_refs("refs");
    for (const auto& [name, commit] : deployed_commits(repository)) state.add(name + " " + commit.hex());
    for (const char* path : {"state", "extensions/imaged/layers"}) state.add_stamp(path);
    for (unsigned i = 0; i < object_directories; ++i) state.add_stamp("objects/" + hex_byte(i));
    state_ = state.finish();
}

std::optional<GarbageCounts> PruneRecord::found() const {
    const auto directory = state_ ? open_records(repository_.fd(), records_directory) : FileDescriptor();
    const auto text = directory ? read_record(directory.get(), prune_record, max_prune_record_bytes) : std::nullopt;
    if (!text) return std::nullopt;
    try {
        const auto document = parse_json(*text);
        if (document.at("state").get<std::string>() != state_->hex()) return std::nullopt;
        GarbageCounts counts;
        counts.objects_total = document.at("objects").get<std::uint64_t>();
        counts.foreign_commits = document.at(foreign_commits_key).get<std::uint64_t>();
        return counts;
    } catch (const std::exception&) {
        return std::nullopt;
    }
}

void PruneRecord::keep(const GarbageCounts& counts) const noexcept {
    if (!state_) return;
    try {
        const nlohmann::json document{
            {"state", state_->hex()}, {"objects", counts.objects_total}, {foreign_commits_key, counts.foreign_commits}};
        if (const auto directory = make_records(repository_.fd(), records_directory))
            write_record(directory.get(), prune_record, json_text(document));
    } catch (const std::exception&) {
        // Costs the next prune some time.
    }
}

}  // namespace imaged
