// SPDX-License-Identifier: Apache-2.0
#include "store/export/delta-sources.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/tree-path.hpp"
#include "layer/path-mapping.hpp"
#include "store/objects/file-object.hpp"
#include "store/objects/object-check.hpp"
#include "store/objects/tree-walk.hpp"
#include "store/records/layer-record.hpp"
#include "store/records/layer-ref.hpp"

namespace imaged {

namespace {

std::optional<std::uint64_t> regular_size(int objects, const Checksum& object) {
    struct stat status {};
    if (::fstatat(objects, object_path(object, PlacedType::file).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode))
        return std::nullopt;
    return static_cast<std::uint64_t>(status.st_size);
}

// Returns an empty file if the object is no regular file or cannot be read.
delta::SourceIndex::File open_source(const Repository& repository, const Checksum& checksum) {
    try {
        const FileObject object(repository, checksum);
        if (object.is_symlink() || !object.content_fd()) return {};
        return {open_at(repository.objects(), object_path(checksum, PlacedType::file), O_RDONLY | O_NOFOLLOW),
                object.size()};
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        return {};
    }
}

// A moved directory of the image in its merged tree, and whether it holds nothing else. If layers have entries of
// their own at the same place, it is not known to which an entry of the merged directory belongs.
struct MovedPlace {
    std::string place, name;
    bool is_alone = true;
};

std::string joined_names(const Path& path) {
    std::string text;
    for (const auto& name : path) text += (text.empty() ? "" : "/") + name;
    return text;
}

std::vector<MovedPlace> moved_directories(const Repository& repository, const StoredImage& image) {
    const auto commits = layer_commits(repository, image.layout);
    bool moved_var = false;
    std::vector<Repository::Commit> derived;
    for (std::size_t i = 0; i < commits.size(); ++i) {
        if (image.layout.layers[i].kind != LayerKind::derived) continue;
        derived.push_back(repository.load_commit(commits[i]));
        moved_var = moved_var || LayerRecord::read(derived.back()).moved_var;
    }
    std::vector<MovedPlace> found;
    const PathMapping mapping{moved_var};
    for (const auto& move : mapping.moves()) {
        MovedPlace moved{joined_names(move.place()), move.name};
        for (const auto& commit : derived) {
            auto listing = read_directory(repository, commit.tree);
            for (const auto& name : move.parent) {
                const auto next = std::find_if(listing.directories.begin(), listing.directories.end(),
                                               [&](const auto& directory) { return directory.name == name; });
                if (next == listing.directories.end()) {
                    listing = {};
                    break;
                }
                listing = read_directory(repository, next->tree);
            }
            moved.is_alone =
                moved.is_alone && std::none_of(listing.directories.begin(), listing.directories.end(),
                                               [&](const auto& directory) { return directory.name == move.aside; });
        }
        found.push_back(std::move(moved));
    }
    return found;
}

// PATH of a merged tree as the image has it; nullopt if that cannot be said.
std::optional<std::string> image_path(std::string_view path, const std::vector<MovedPlace>& moves) {
    for (const auto& move : moves) {
        if (!path.starts_with(move.place) || path.size() == move.place.size() || path[move.place.size()] != '/')
            continue;
        return move.is_alone ? std::optional(move.name + std::string(path.substr(move.place.size()))) : std::nullopt;
    }
    return std::string(path);
}

}  // namespace

std::unique_ptr<delta::SourceIndex> delta_sources(const Repository& repository, const StoredImage& image,
                                                  const Cancellation& cancellation) {
    if (repository.file_suffix() != ".file")
        throw Error(
            ErrorKind::unsupported_image,
            "deltas are made from repositories whose objects are files (mode bare or bare-user), and this one has "
            "the mode " +
                repository.mode());
    auto index = std::make_unique<delta::SourceIndex>(
        delta::SourceIndex::Hooks{
            [&repository](const Checksum& object) { return open_source(repository, object); },
            [&repository](const Checksum& object) { return regular_size(repository.objects(), object); },
            [check = ObjectCheck(repository, cancellation)](const auto& file, const Checksum& object) {
                ContentSize size;
                return !check.fault_of(file.fd.get(), object, size);
            }},
        cancellation);
    const auto moves = moved_directories(repository, image);
    const auto walk = [&](const Checksum& commit, bool by_object) {
        walk_tree(repository, repository.load_commit(commit), cancellation,
                  {.list = [&](const TreePlace& place, const DirectoryListing& listing) {
                      for (const auto& file : listing.files) {
                          if (const auto path = image_path(place.below(file.name), moves))
                              index->add(*path, file.object, by_object);
                      }
                  }});
    };
    if (image.base_commit) {
        walk(*image.base_commit, true);
        // Its files are in it once more, and under their paths as well.
        if (std::any_of(image.layout.layers.begin(), image.layout.layers.end(),
                        [](const auto& layer) { return layer.kind == LayerKind::derived; }))
            walk(image.merge_commit, false);
    } else {
        walk(image.merge_commit, false);
    }
    index->finish();
    return index;
}

}  // namespace imaged
