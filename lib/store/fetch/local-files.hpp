// SPDX-License-Identifier: Apache-2.0
// Finds the objects of the repository that have the content of files that a zstd:chunked layer lists or a delta names.
//
// Files of a derived layer are looked for at the same path of the version that is stored, then among all objects of
// their size, and taken if their content has the digest that the table says. Those of a layer of OSTree objects are
// named by their checksum; they are taken if they have the size. Of a file that is not found, those chunks are taken
// that the file at its path has or, if there is none, one of the objects with the most similar sizes.
//
// A found file is a hint: the caller verifies the whole layer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "base/file-descriptor.hpp"
#include "base/tree-path.hpp"
#include "chunked/chunked-plan.hpp"
#include "store/fetch/content-search.hpp"

namespace imaged {

// Belongs to one thread.
class LocalFiles {
public:
    // OBJECTS, the objects directory of a repository whose file objects are their content, and CANCELLATION are
    // borrowed. TREE is the root of the stored version's merged tree, if there is one.
    LocalFiles(int objects, const std::optional<Checksum>& tree, bool moved_var, const Cancellation& cancellation)
        : objects_(objects), tree_(tree), moved_var_(moved_var), cancellation_(cancellation) {}

    // Has find() look for files of a derived layer if IS_DERIVED, otherwise for those of a layer of OSTree objects.
    // SIZES is called when an object is first looked for by its size, and gives those of the same repository.
    void look_for_files(std::function<const ObjectSizes&()> sizes, bool is_derived);

    // Whether OBJECTS, of a repository of any mode, has any file. Without one, no table need be read.
    static bool has_any(int objects);

    // Looks for FILE and adds it to PLAN, at once or in a later call of one of these.
    void find(const TableFile& file, ChunkedPlan& plan);
    void finish(ChunkedPlan& plan);
    // Call when all are found: gives memory back.
    void release_directories() { way_ = {}; }
    // Whether OBJECT was looked at for a file and not found to be it: it may be damaged. After finish().
    bool is_doubtful(const Checksum& object) const;
    // The content of a file that was found. Throws Error(corrupt_input) where it is not there any more.
    FileDescriptor open(const ChunkedPlan::File& file) const;
    // The regular file that a delta calls NAME: a path in the tree, from its root on and without ".." or links on the
    // way, or an object as a layer of OSTree objects names it, whichever image brought it. TREE is the root of the
    // image that the delta starts from. Throws Error(corrupt_input) if there is none.
    FileDescriptor open_named(const std::string& name);

private:
    // Sets OBJECT and TYPE of FOUND. Returns whether there is one with this name.
    bool find_object(const std::string& name, ChunkedPlan::File& found) const;
    std::optional<Checksum> at_path(const std::string& name);
    const std::string* directory(const Path& path, std::size_t depth);
    std::optional<std::string> read_directory(const Checksum& tree);
    // An empty descriptor if there is none, for the first also if it has another size.
    FileDescriptor try_open(const ChunkedPlan::File& file) const;
    FileDescriptor open_content(const ChunkedPlan::File& file) const;
    void look(ChunkedPlan& plan);
    // Which of what was asked for is at its path. Looks elsewhere for the files before them at the same time.
    void look_at_paths(ChunkedPlan& plan);
    // Adds the files that were looked for at their paths to PLAN, and looks for those among them that are not there.
    void look_elsewhere(ChunkedPlan& plan);
    void doubt(const Checksum& object);

    const int objects_;
    const std::optional<Checksum> tree_;
    const bool moved_var_;
    const Cancellation& cancellation_;
    std::function<const ObjectSizes&()> sizes_;
    std::optional<ContentSearch> search_;  // of a derived layer
    // Files to look for, in the order of the plan: some together are hashed in several threads.
    static constexpr std::size_t most_asked = 2048;
    static constexpr unsigned threads = 2;
    struct Asked {
        ChunkedPlan::File found;
        Checksum content;
        bool has_path;  // FOUND has the object that is at its path in the tree
        std::vector<TableChunk> chunks;
    };
    // Objects to look in for the chunks of a file of so many bytes that is not here and has no path.
    static constexpr std::size_t most_similar = 4;
    static constexpr std::uint64_t least_similar_bytes = 1024 * 1024;
    // Limits of the search for chunks: so many bytes, which takes a tenth of a second, and so many more for each
    // compressed byte of files that have a path, or of which any was found. An image of new files is not searched for
    // long.
    static constexpr std::int64_t first_bytes = 128 * 1024 * 1024, bytes_for_each = 64, most_bytes = 1LL << 40;
    // Adds the parts of a file: those that the object at its path or a similar one has are here.
    void add_parts(const Asked& asked, ChunkedPlan& plan);

    std::vector<Asked> asked_, looked_at_;  // the second: at their paths
    std::size_t asked_chunks_ = 0;
    std::size_t parts_left_ = max_plan_parts;
    std::int64_t may_read_ = first_bytes;  // to look for chunks
    std::vector<std::size_t> doubtful_;    // hashes of the objects; sorted after finish()
    std::uint64_t directories_bytes_ = 0;  // that were read
    // The directories on the way to the last path that was looked for, from the root on.
    struct Level {
        std::string name;
        std::optional<std::string> dirtree;
    };
    std::vector<Level> way_;
};

}  // namespace imaged
