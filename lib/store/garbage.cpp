// SPDX-License-Identifier: Apache-2.0
#include "store/garbage.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "layer/dirtree.hpp"
#include "store/checksum-set.hpp"
#include "store/stored-image.hpp"

namespace imaged {

namespace {

constexpr std::size_t checksum_tail = 62;  // hex digits of an object's file name, after the two of its directory

// Every object of the repository: its directory there, its file name, its checksum and type ("file", "dirtree", …).
using Visit = std::function<void(int directory, const char* name, const Checksum& checksum, std::string_view type)>;

void visit_objects(int objects, const Visit& visit) {
    for (unsigned byte = 0; byte < 256; ++byte) {
        char prefix[3];
        std::snprintf(prefix, sizeof prefix, "%02x", byte);
        auto fd = try_open_at(objects, prefix, O_RDONLY | O_DIRECTORY);
        if (!fd) continue;
        const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
        if (!stream) throw_errno(std::string("list objects/") + prefix);
        const int directory = fd.release();
        while (const dirent* entry = ::readdir(stream.get())) {
            const std::string_view name(entry->d_name);
            if (name.size() < checksum_tail + 2 || name[checksum_tail] != '.') continue;
            if (const auto checksum = Checksum::from_hex(prefix + std::string(name.substr(0, checksum_tail))))
                visit(directory, entry->d_name, *checksum, name.substr(checksum_tail + 1));
        }
    }
}

class Collector {
public:
    Collector(const Repository& repository, const GarbageRules& rules, const Cancellation& cancellation)
        : repository_(repository), rules_(rules), cancellation_(cancellation) {}

    GarbageCounts run() {
        for (const auto& [ref, commit] : repository_.all_refs()) {
            if (!rules_.ignored_refs.contains(ref)) mark_commit(commit);
        }
        keep_foreign_commits();
        cancellation_.check();
        // First what everything else hangs on.
        sweep([](std::string_view type) { return type == "commit"; });
        if (!rules_.dry_run && counts_.objects > 0) repository_.sync();
        sweep([](std::string_view type) { return type != "commit"; });
        return counts_;
    }

private:
    void keep_foreign_commits() {
        std::vector<Checksum> unnamed;
        visit_objects(repository_.objects(), [&](int, const char*, const Checksum& checksum, std::string_view type) {
            if (type == "commit" && !commits_.contains(checksum)) unnamed.push_back(checksum);
        });
        if (rules_.foreign_commits) return;
        // The base of an image that is gone came with it.
        std::set<Checksum> ours(rules_.image_commits);
        for (const auto& checksum : unnamed) {
            try {
                const auto commit = repository_.load_commit(checksum);
                if (!came_from_image(commit)) continue;
                ours.insert(checksum);
                if (commit.parent) ours.insert(*commit.parent);
            } catch (const Error&) {
                // What cannot be read cannot be known to be ours.
            }
        }
        for (const auto& checksum : unnamed) {
            if (ours.contains(checksum)) continue;
            ++counts_.foreign_commits;
            mark_commit(checksum);
        }
    }

    bool came_from_image(const Repository::Commit& commit) const {
        if (commit.text(manifest_digest_key) || commit.text(importer_version_key)) return true;
        // A chunk layer's commit says nothing at all, and its files are named by themselves.
        if (commit.timestamp != 0 || commit.parent || g_variant_n_children(commit.metadata.get()) != 0) return false;
        const auto bytes = repository_.load_metadata(ObjectType::dirtree, commit.tree);
        if (!bytes) return false;
        const auto listing = parse_dirtree(*bytes);
        return listing.directories.empty() && !listing.files.empty() &&
               listing.files.front().name == listing.files.front().object.hex();
    }

    void mark_commit(Checksum checksum) {
        // With its history, as far as it is there.
        while (commits_.insert(checksum)) {
            std::optional<Checksum> parent;
            try {
                const auto commit = repository_.load_commit(checksum);
                reached_.insert(commit.meta);
                mark_tree(commit.tree);
                parent = commit.parent;
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::cancelled) throw;
                return;  // damaged: what it still reaches stays as far as it can be read
            }
            if (!parent) return;
            checksum = *parent;
        }
    }

    void mark_tree(const Checksum& root) {
        std::vector<Checksum> rest{root};
        while (!rest.empty()) {
            cancellation_.check();
            const auto tree = rest.back();
            rest.pop_back();
            if (!trees_.insert(tree)) continue;
            try {
                const auto bytes = repository_.load_metadata(ObjectType::dirtree, tree);
                if (!bytes) continue;
                const auto listing = parse_dirtree(*bytes);
                for (const auto& file : listing.files) reached_.insert(file.object);
                for (const auto& directory : listing.directories) {
                    reached_.insert(directory.meta);
                    rest.push_back(directory.tree);
                }
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::cancelled) throw;
            }
        }
    }

    bool is_needed(const Checksum& checksum, std::string_view type) const {
        if (type == "commit" || type == "commitmeta" || type == "commitmeta-compat") return commits_.contains(checksum);
        if (type == "dirtree") return trees_.contains(checksum);
        if (type == "dirmeta" || type == "file" || type == "filez") return reached_.contains(checksum);
        return true;  // a type from elsewhere
    }

    template <typename Wanted>
    void sweep(Wanted&& wanted) {
        visit_objects(repository_.objects(),
                      [&](int directory, const char* name, const Checksum& checksum, std::string_view type) {
                          if (!wanted(type)) return;
                          ++counts_.objects_total;
                          if (is_needed(checksum, type)) return;
                          struct stat status;
                          if (::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return;
                          ++counts_.objects;
                          if (status.st_nlink == 1) counts_.bytes += static_cast<std::uint64_t>(status.st_size);
                          if (!rules_.dry_run && ::unlinkat(directory, name, 0) != 0 && errno != ENOENT)
                              throw_errno("remove the object " + checksum.hex());
                      });
    }

    const Repository& repository_;
    const GarbageRules& rules_;
    const Cancellation& cancellation_;
    GarbageCounts counts_;
    // A wrong "yes" keeps an object that could go.
    ChecksumSet commits_, trees_, reached_;
};

}  // namespace

GarbageCounts collect_garbage(const Repository& repository, const GarbageRules& rules,
                              const Cancellation& cancellation) {
    return Collector(repository, rules, cancellation).run();
}

}  // namespace imaged
