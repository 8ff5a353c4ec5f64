// SPDX-License-Identifier: Apache-2.0
#include "store/verify/repository-check.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <vector>

#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "layer/dirtree.hpp"
#include "store/repository/object-listing.hpp"

namespace imaged {

std::string object_name(const Checksum& checksum, ObjectType type) {
    return checksum.hex() + "." + std::string(suffix(type));
}

RepositoryCheck::RepositoryCheck(const Repository& repository, const Cancellation& cancellation, WorkObserver& observer)
    : repository_(repository),
      cancellation_(cancellation),
      observer_(observer),
      check_(repository),
      names_(repository.objects(), repository.file_suffix()) {}

void RepositoryCheck::walk(const Checksum& checksum) {
    if (!commits_.insert(checksum)) return;
    ++metadata_;
    try {
        const auto commit = repository_.load_commit(checksum);
        check_meta(commit.meta);
        walk_tree(commit.tree);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled || is_shortage(error)) throw;
        const bool present = repository_.has_object(ObjectType::commit, checksum);
        bad_.emplace(object_name(checksum, ObjectType::commit), present ? "is corrupt" : "is missing");
    }
}

void RepositoryCheck::check_meta(const Checksum& meta) {
    if (!metas_.insert(meta)) return;
    ++metadata_;
    try {
        if (!repository_.load_metadata(ObjectType::dirmeta, meta))
            bad_.emplace(object_name(meta, ObjectType::dirmeta), "is missing");
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        bad_.emplace(object_name(meta, ObjectType::dirmeta), "is corrupt");
    }
}

void RepositoryCheck::walk_tree(const Checksum& root) {
    std::vector<Checksum> rest{root};
    while (!rest.empty()) {
        cancellation_.check();
        const auto tree = rest.back();
        rest.pop_back();
        if (!trees_.insert(tree)) continue;
        ++metadata_;
        try {
            const auto bytes = repository_.load_metadata(ObjectType::dirtree, tree);
            if (!bytes) {
                bad_.emplace(object_name(tree, ObjectType::dirtree), "is missing");
                continue;
            }
            const auto listing = parse_dirtree(*bytes);
            for (const auto& file : listing.files) files_.insert(file.object);
            for (const auto& directory : listing.directories) {
                check_meta(directory.meta);
                rest.push_back(directory.tree);
            }
        } catch (const Error& error) {
            if (is_shortage(error)) throw;
            bad_.emplace(object_name(tree, ObjectType::dirtree), "is corrupt");
        }
    }
}

void RepositoryCheck::hash_files() {
    for_each_object_directory(check_.parallel() ? object_threads() : 1,
                              [this](unsigned directory) { hash_directory(directory); });
    any_missing_ = seen_ != files_.size();
}

void RepositoryCheck::hash_directory(unsigned directory) {
    const std::string type = repository_.file_suffix().substr(1);
    visit_objects(repository_.objects(), directory, [&](const LooseObject& object) {
        if (object.type != type || !files_.contains(object.checksum)) return;
        cancellation_.check();
        const auto fault = check_.fault_of(object);
        struct stat status {};
        ::fstatat(object.directory, object.name, &status, AT_SYMLINK_NOFOLLOW);
        const std::lock_guard lock(mutex_);
        bytes_ += static_cast<std::uint64_t>(status.st_size);
        ++seen_;
        if (fault) bad_.emplace(object_name(object.checksum, ObjectType::file), *fault);
        observer_.advance(seen_, files_.size());
    });
}

std::optional<std::string> RepositoryCheck::fault_of_file(const Checksum& file) {
    if (!bad_.empty()) {
        if (const auto found = bad_.find(object_name(file, ObjectType::file)); found != bad_.end())
            return found->second;
    }
    if (!any_missing_ || names_.has_file(file) || repository_.has_object(ObjectType::file, file)) return std::nullopt;
    bad_.emplace(object_name(file, ObjectType::file), "is missing");
    return "is missing";
}

}  // namespace imaged
