// SPDX-License-Identifier: Apache-2.0
#include "store/tree/commit-check.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/error.hpp"
#include "base/glib.hpp"
#include "base/tree-path.hpp"
#include "store/objects/tree-walk.hpp"

namespace imaged {

namespace {

struct Size {
    std::size_t height = 1;     // of the tree below, itself included
    std::uint64_t entries = 0;  // paths below
};

class CommitCheck {
public:
    explicit CommitCheck(ObjectSink& sink) : sink_(sink) {}

    void check(const Checksum& commit) {
        const auto bytes = read(ObjectType::commit, commit);
        const auto variant = parse_variant(G_VARIANT_TYPE("(a{sv}aya(say)sstayay)"), bytes);
        walk_tree([&](const Checksum& tree) { return read(ObjectType::dirtree, tree); }, checksum_in(variant.get(), 6),
                  checksum_in(variant.get(), 7),
                  {.enter = [&](const TreePlace& place) { return enter(place); },
                   .list = [&](const TreePlace&, const DirectoryListing& listing) { list(listing); },
                   .leave = [&](const TreePlace& place) { leave(place); }});
    }

private:
    static Checksum checksum_in(GVariant* commit, std::size_t child) {
        const VariantPtr bytes(g_variant_get_child_value(commit, child));
        Checksum checksum;
        if (g_variant_get_size(bytes.get()) != checksum.bytes.size())
            throw Error(ErrorKind::corrupt_input, "the commit does not name its tree by a checksum");
        std::memcpy(checksum.bytes.data(), g_variant_get_data(bytes.get()), checksum.bytes.size());
        return checksum;
    }

    bool enter(const TreePlace& place) {
        check_meta(place.meta);
        if (const auto known = sizes_.find(place.tree); known != sizes_.end()) {
            add(known->second);
            return false;
        }
        check_height(place.depth + 1);
        return true;
    }

    void list(const DirectoryListing& listing) {
        open_.push_back({1, listing.files.size() + listing.directories.size()});
        listed_ += open_.back().entries;
        if (listed_ > max_commit_listed)
            throw Error(ErrorKind::unsupported_image, "the directories of the commit have more than the limit of " +
                                                          std::to_string(max_commit_listed) + " entries");
        check_entries(open_.back());
        for (const auto& file : listing.files) {
            // By its whole name: the author of the commit chose the checksums.
            if (files_.insert(file.object).second && !sink_.has_file(file.object))
                missing(file.object, ObjectType::file);
        }
    }

    void leave(const TreePlace& place) {
        const auto size = open_.back();
        open_.pop_back();
        sizes_.emplace(place.tree, size);
        if (!open_.empty()) add(size);
    }

    // CHILD to the directory that is open.
    void add(const Size& child) {
        auto& parent = open_.back();
        parent.height = std::max(parent.height, child.height + 1);
        parent.entries += child.entries;
        // What is above was counted when it was entered; what is below a tree that is named twice was not.
        check_height(open_.size() + child.height);
        check_entries(parent);
    }

    static void check_height(std::size_t height) {
        if (height > max_path_depth + 1)
            throw Error(ErrorKind::unsupported_image,
                        "the tree of the commit is deeper than " + std::to_string(max_path_depth) + " levels");
    }

    static void check_entries(const Size& size) {
        if (size.entries > max_commit_entries)
            throw Error(ErrorKind::unsupported_image, "the tree of the commit has more than the limit of " +
                                                          std::to_string(max_commit_entries) + " paths");
    }

    std::string read(ObjectType type, const Checksum& checksum) {
        try {
            return sink_.read_metadata(type, checksum);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::repository_damaged) throw;
            missing(checksum, type);
        }
    }

    void check_meta(const Checksum& meta) {
        if (metas_.insert(meta).second) read(ObjectType::dirmeta, meta);
    }

    [[noreturn]] static void missing(const Checksum& checksum, ObjectType type) {
        throw Error(ErrorKind::corrupt_input,
                    "the image does not contain the object " + object_name(checksum, type) + " of its commit");
    }

    ObjectSink& sink_;
    std::vector<Size> open_;  // directories on the way
    std::unordered_map<Checksum, Size> sizes_;
    std::unordered_set<Checksum> files_, metas_;
    std::uint64_t listed_ = 0;
};

}  // namespace

void check_foreign_commit(ObjectSink& sink, const Checksum& commit) {
    in_context("commit " + commit.hex(), [&] { CommitCheck(sink).check(commit); });
}

}  // namespace imaged
