// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/garbage.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <mutex>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "store/files/partial-mark.hpp"
#include "store/files/ref-name.hpp"
#include "store/objects/checksum-set.hpp"
#include "store/objects/object-listing.hpp"
#include "store/objects/tree-walk.hpp"
#include "store/records/stored-image.hpp"
#include "store/upkeep/deployed-commits.hpp"

namespace imaged {

namespace {

// Shares of the job: walking reads a tenth of the objects, removing is bound to the file system.
constexpr double mark_end = 0.5;
// Enough to see that there are some.
constexpr std::size_t max_directories = 100;

// Objects by what they are. A wrong "yes" keeps an object that could go.
struct Reached {
    ChecksumSet trees, contents;  // contents: files and dirmetas

    bool contains(const LooseObject& object) const {
        return object.type == "dirtree" ? trees.contains(object.checksum) : contents.contains(object.checksum);
    }
};

// Of the commits UNNAMED, which no ref reaches, those that came from images: they show it, are in KNOWN, or are the
// parents of such commits. All of KNOWN besides.
std::set<Checksum> commits_of_images(const Repository& repository, const std::vector<Checksum>& unnamed,
                                     const std::set<Checksum>& known) {
    // The base of an image that is gone came with it.
    auto ours = known;
    for (const auto& checksum : unnamed) {
        try {
            const auto commit = repository.load_commit(checksum);
            if (!came_from_image(repository, commit)) continue;
            ours.insert(checksum);
            if (commit.parent) ours.insert(*commit.parent);
        } catch (const Error&) {
            // What cannot be read cannot be known to be ours.
        }
    }
    return ours;
}

class Collector {
public:
    Collector(const Repository& repository, const GarbageRules& rules, DiskUsage& usage,
              const Cancellation& cancellation, WorkObserver& observer)
        : repository_(repository), rules_(rules), cancellation_(cancellation), observer_(observer), usage_(usage) {}

    GarbageCounts run() {
        observer_.begin("mark", 0, mark_end, "");
        const auto refs = repository_.all_refs(rules_.foreign_commits);
        // Images first: damage is reported for the first image that reaches the object.
        for (const bool layers : {false, true}) {
            for (const auto& [ref, commit] : refs) {
                if (is_layer_ref(ref) == layers && !rules_.ignored_refs.contains(ref)) mark_ref(ref, commit);
            }
        }
        for (const auto& [name, commit] : deployed_commits(repository_)) mark_ref("the deployment " + name, commit);
        const auto doomed = doomed_commits();
        cancellation_.check();
        observer_.begin("prune", mark_end, 1, "directories");
        if (!rules_.dry_run && rules_.before_removal) rules_.before_removal();
        // First what everything else hangs on.
        for (const auto& commit : doomed) remove_commit(commit);
        if (!rules_.dry_run && counts_.commits > 0) repository_.sync();
        unsigned swept = 0;
        for_each_object_directory(object_threads(), [&](unsigned directory) {
            cancellation_.check();
            visit_objects(repository_.objects(), directory, [&](const LooseObject& object) { sweep(object); });
            const std::lock_guard lock(mutex_);
            observer_.advance(++swept, object_directories);
        });
        return counts_;
    }

private:
    // Commits that no ref reaches.
    std::vector<Checksum> unnamed_commits() {
        std::vector<Checksum> unnamed;
        for_each_object_directory(object_threads(), [&](unsigned directory) {
            cancellation_.check();
            std::size_t objects = 0;
            std::vector<Checksum> found;
            std::vector<std::string> directories;
            visit_objects(repository_.objects(), directory, [&](const LooseObject& object) {
                if (object.is_directory) {
                    if (directories.size() < max_directories)
                        directories.push_back(object_path(object.checksum.hex()) + "." + std::string(object.type));
                    return;
                }
                ++objects;
                if (object.type == "commit" && !commits_.contains(object.checksum)) found.push_back(object.checksum);
            });
            const std::lock_guard lock(mutex_);
            counts_.objects_total += objects;
            for (auto& path : directories) {
                if (counts_.directories.size() < max_directories) counts_.directories.insert(std::move(path));
            }
            unnamed.insert(unnamed.end(), found.begin(), found.end());
        });
        return unnamed;
    }

    // Those of them that may go; what the others reach is marked.
    std::vector<Checksum> doomed_commits() {
        const auto unnamed = unnamed_commits();
        const auto ours = commits_of_images(repository_, unnamed, rules_.image_commits);
        std::vector<Checksum> doomed;
        for (const auto& checksum : unnamed) {
            if (rules_.foreign_commits || ours.contains(checksum)) {
                doomed.push_back(checksum);
                continue;
            }
            ++counts_.foreign_commits;
            std::string damage;  // no ref names it, so nobody misses what it has lost
            mark_commit(checksum, damage);
        }
        // A kept commit may have one of these for a parent.
        std::erase_if(doomed, [&](const auto& checksum) { return commits_.contains(checksum); });
        if (!counts_.damaged.empty()) {
            for (const auto& checksum : doomed) note_doomed(checksum);
        }
        return doomed;
    }

    void note_doomed(const Checksum& checksum) {
        try {
            std::string ignored;
            walk(repository_.load_commit(checksum), doomed_, ignored);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
    }

    void mark_ref(const std::string& ref, const std::optional<Checksum>& commit) {
        std::string damage;
        if (commit)
            mark_commit(*commit, damage);
        else
            damage = "the ref names no commit";
        if (!damage.empty()) counts_.damaged.emplace(ref, damage);
    }

    // With its history, as far as it is there. DAMAGE is what could not be read.
    void mark_commit(Checksum checksum, std::string& damage) {
        bool named = true;
        while (commits_.insert(checksum)) {
            // Of a shallow pull only the newest commits are there.
            if (!named && !repository_.has_object(ObjectType::commit, checksum)) return;
            std::optional<Checksum> parent;
            try {
                const auto commit = repository_.load_commit(checksum);
                std::string found;
                walk(commit, reached_, found);
                if (!found.empty() && !is_partial(checksum)) damage = found;
                parent = commit.parent;
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::cancelled || is_system_failure(error)) throw;
                damage = error.what();
                return;
            }
            if (!parent) return;
            checksum = *parent;
            named = false;
        }
    }

    bool is_partial(const Checksum& commit) const { return has_partial_mark(repository_.fd(), commit); }
    void walk(const Repository::Commit& commit, Reached& reached, std::string& damage) {
        walk_tree(repository_, commit, cancellation_,
                  {.enter =
                       [&](const TreePlace& place) {
                           reached.contents.insert(place.meta);
                           const bool is_new = reached.trees.insert(place.tree);
                           if (!is_new && unreadable_.contains(place.tree))
                               damage = "object " + object_name(place.tree, ObjectType::dirtree) + " cannot be read";
                           return is_new;
                       },
                   .list =
                       [&](const TreePlace&, const DirectoryListing& listing) {
                           for (const auto& file : listing.files) reached.contents.insert(file.object);
                       },
                   .unreadable =
                       [&](const TreePlace& place, const Error& error) {
                           if (is_system_failure(error)) throw error;
                           damage = error.what();
                           unreadable_.insert(place.tree);
                       }});
    }

    bool may_go(const LooseObject& object) const {
        if (object.type == "payload-link") return is_dangling(object);
        const bool known =
            object.type == "dirtree" || object.type == "dirmeta" || object.type == "file" || object.type == "filez";
        if (!known || reached_.contains(object)) return false;  // a type from elsewhere stays
        return counts_.damaged.empty() || doomed_.contains(object);
    }

    // A symbolic link, named by the checksum of a file's bare content, to the object that has it.
    bool is_dangling(const LooseObject& object) const {
        std::array<char, PATH_MAX> target;
        const auto size = ::readlinkat(object.directory, object.name, target.data(), target.size());
        if (size <= 0) return false;
        auto path = std::string_view(target.data(), static_cast<std::size_t>(size));
        if (!path.starts_with("../") || !path.ends_with(".file")) return false;
        path.remove_prefix(3);
        path.remove_suffix(5);
        const auto checksum = path.size() > 2 && path[2] == '/'
                                  ? Checksum::from_hex(std::string(path.substr(0, 2)) + std::string(path.substr(3)))
                                  : std::nullopt;
        return checksum && may_go({object.directory, object.name, *checksum, "file"});
    }

    void remove_commit(const Checksum& checksum) {
        const auto path = object_path(checksum.hex());
        ++counts_.objects;
        ++counts_.commits;
        counts_.removed_commits.insert(checksum);
        usage_.remove(repository_.objects(), path + ".commit");
        for (const char* type : {".commitmeta", ".commitmeta-compat"}) {
            if (!exists(repository_.objects(), path + type)) continue;
            ++counts_.objects;
            usage_.remove(repository_.objects(), path + type);
        }
        usage_.remove(repository_.fd(), partial_mark(checksum));
        if (repository_.writes_tombstones()) usage_.add_block(repository_.objects());
        if (!rules_.dry_run) repository_.delete_commit(checksum);
    }

    void sweep(const LooseObject& object) {
        if (object.is_directory || !may_go(object)) return;
        struct stat status;
        if (::fstatat(object.directory, object.name, &status, AT_SYMLINK_NOFOLLOW) != 0) return;
        if (!rules_.dry_run && ::unlinkat(object.directory, object.name, 0) != 0 && errno != ENOENT)
            throw_errno("remove the object " + object.checksum.hex() + "." + std::string(object.type));
        const std::lock_guard lock(mutex_);
        ++counts_.objects;
        usage_.remove(status);
    }

    const Repository& repository_;
    const GarbageRules& rules_;
    const Cancellation& cancellation_;
    WorkObserver& observer_;
    std::mutex mutex_;  // of what follows, while several threads look through the objects
    DiskUsage& usage_;
    GarbageCounts counts_;
    ChecksumSet commits_;
    std::set<Checksum> unreadable_;  // trees
    Reached reached_, doomed_;
};

}  // namespace

bool came_from_image(const Repository& repository, const Repository::Commit& commit) {
    if (commit.text(manifest_digest_key) || commit.text(importer_version_key)) return true;
    // A chunk layer's commit says nothing at all, and its files are named by themselves.
    if (commit.timestamp != 0 || commit.parent || g_variant_n_children(commit.metadata.get()) != 0) return false;
    const auto listing = read_directory(repository, commit.tree);
    return listing.directories.empty() && !listing.files.empty() &&
           listing.files.front().name == listing.files.front().object.hex();
}

GarbageCounts collect_garbage(const Repository& repository, const GarbageRules& rules, DiskUsage& usage,
                              const Cancellation& cancellation, WorkObserver& observer) {
    return Collector(repository, rules, usage, cancellation, observer).run();
}

}  // namespace imaged
