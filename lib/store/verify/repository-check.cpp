// SPDX-License-Identifier: Apache-2.0
#include "store/verify/repository-check.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "layer/object-placement.hpp"
#include "store/files/partial-mark.hpp"
#include "store/objects/tree-walk.hpp"

namespace imaged {

RepositoryCheck::RepositoryCheck(const Repository& repository, const Cancellation& cancellation, WorkObserver& observer)
    : repository_(repository),
      cancellation_(cancellation),
      observer_(observer),
      check_(repository, cancellation),
      names_(repository.objects(), repository.file_suffix()) {}

void RepositoryCheck::walk(const Checksum& checksum) {
    if (!commits_.insert(checksum)) return;
    ++metadata_;
    if (has_partial_mark(repository_.fd(), checksum)) marked_.push_back(checksum);
    try {
        walk_tree(repository_, repository_.load_commit(checksum), cancellation_,
                  {.enter =
                       [&](const TreePlace& place) {
                           check_meta(place.meta);
                           const bool is_new = trees_.insert(place.tree);
                           if (is_new) ++metadata_;
                           return is_new;
                       },
                   .list =
                       [&](const TreePlace&, const DirectoryListing& listing) {
                           for (const auto& file : listing.files) note_file(file.object);
                       },
                   .unreadable = [&](const TreePlace& place,
                                     const Error& error) { note_bad(place.tree, ObjectType::dirtree, error); }});
    } catch (const Error& error) {
        note_bad(checksum, ObjectType::commit, error);
    }
}

void RepositoryCheck::note_file(const Checksum& file) {
    if (!files_.insert(file)) return;
    if (files_.size() <= max_known) return known_[file.bytes.front()].push_back(file);
    if (files_.size() == max_known + 1) known_ = {};
}

void RepositoryCheck::check_meta(const Checksum& meta) {
    if (!metas_.insert(meta)) return;
    ++metadata_;
    try {
        repository_.require_metadata(ObjectType::dirmeta, meta);
    } catch (const Error& error) {
        note_bad(meta, ObjectType::dirmeta, error);
    }
}

void RepositoryCheck::note_bad(const Checksum& checksum, ObjectType type, const Error& error) {
    if (error.kind() == ErrorKind::cancelled || is_shortage(error)) throw;
    std::string fault = "is corrupt";
    if (is_system_failure(error))
        fault = std::string("cannot be read: ") + error.what();
    else if (!repository_.has_object(type, checksum))
        fault = missing;
    bad_.emplace(object_name(checksum, type), std::move(fault));
}

void RepositoryCheck::hash_files() {
    for_each_object_directory(object_threads(), [this](unsigned directory) {
        if (files_.size() <= max_known)
            hash_known(directory);
        else
            hash_directory(directory);
    });
    any_missing_ = seen_ != files_.size();
}

void RepositoryCheck::hash_directory(unsigned directory) {
    const std::string type = repository_.file_suffix().substr(1);
    visit_objects(repository_.objects(), directory, [&](const LooseObject& object) {
        if (object.type == type && files_.contains(object.checksum)) hash(object);
    });
}

void RepositoryCheck::hash_known(unsigned directory) {
    const auto suffix = repository_.file_suffix();
    for (const auto& file : known_[directory]) {
        const auto path = object_path(file.hex() + suffix);
        if (exists(repository_.objects(), path))
            hash({repository_.objects(), path.c_str(), file, std::string_view(suffix).substr(1)});
    }
}

void RepositoryCheck::hash(const LooseObject& object) {
    cancellation_.check();
    const auto fault = check_.fault_of(object);
    struct stat status {};
    ::fstatat(object.directory, object.name, &status, AT_SYMLINK_NOFOLLOW);
    const std::lock_guard lock(mutex_);
    bytes_ += static_cast<std::uint64_t>(status.st_size);
    ++seen_;
    if (fault) bad_.emplace(object_name(object.checksum, ObjectType::file), *fault);
    observer_.advance(seen_, files_.size());
}

std::optional<std::string> RepositoryCheck::fault_of_file(const Checksum& file) {
    if (!bad_.empty()) {
        if (const auto found = bad_.find(object_name(file, ObjectType::file)); found != bad_.end())
            return found->second;
    }
    if (!any_missing_ || names_.has_file(file) || repository_.has_object(ObjectType::file, file)) return std::nullopt;
    return bad_.emplace(object_name(file, ObjectType::file), missing).first->second;
}

}  // namespace imaged
