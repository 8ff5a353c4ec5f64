// SPDX-License-Identifier: Apache-2.0
// Lists the refs below a prefix, and reads only those again that changed: every writer of refs replaces a ref's file by
// rename(2), which shows in its directory's modification time and in the file's inode and change time. A listing
// without changes costs one stat(2) for each directory; in a directory with changes one for each file.
//
// Another process need not read files again that have not changed since (record(), restore()). It looks at each file
// once, so it notices a file that was overwritten in place.
//
// Belongs to one thread; borrows the descriptor. Refs that cannot be read are left out.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/checksum.hpp"
#include "base/file-stamp.hpp"
#include "store/files/ref-file.hpp"
#include "store/files/sealed-record.hpp"

namespace imaged {

class RefListing {
public:
    // Local refs. REPOSITORY is the repository's directory; PREFIX is without a last slash.
    RefListing(int repository, const std::string& prefix)
        : RefListing(repository, prefix, "refs/heads/" + prefix, {}) {}
    // Local refs and those of remotes and mirrors, but for the directories EXCEPT ("refs/heads/ostree/0"). Their full
    // names are those of their files ("refs/remotes/REMOTE/NAME").
    static RefListing of_all(int repository, std::set<std::string> except) {
        return {repository, "refs", "refs", std::move(except)};
    }

    // Looks for changes. True if there are any since the last time, or may be in a file that cannot be read. Throws a
    // system error; the next call reads all refs then.
    bool refresh();
    // Returns the refs and the stamps of their files, for restore() in another process.
    std::string record() const;
    // Call before the first refresh(). Throws Error(corrupt_input) if TEXT is no record.
    void restore(std::string_view text);
    // Whether record() would spare more reading than what was restored.
    bool has_news() const { return has_news_; }
    // The commits of the refs by full name; nullopt for a broken ref (ref-file.hpp) and for one that cannot be read.
    // Made on demand, and kept.
    const std::unordered_map<std::string, std::optional<Checksum>>& refs() const;
    // Visits the same refs without making this map, in no order.
    using Visitor = std::function<void(std::string ref, const std::optional<Checksum>& commit)>;
    void visit(const Visitor& visitor) const { visit(visitor, prefix_, root_); }
    RefTarget find(std::string_view ref) const;
    // Throws the error of a ref that refresh() could not read.
    void require_readable() const;
    // The refs that are new, gone, or name another commit since the last call, some perhaps twice. Nothing if that is
    // not known, as in the first call: any ref may have changed.
    std::optional<std::vector<std::string>> take_changes();

private:
    RefListing(int repository, std::string prefix, std::string path, std::set<std::string> except)
        : repository_(repository), prefix_(std::move(prefix)), path_(std::move(path)), except_(std::move(except)) {}

    struct File {
        ino_t inode = 0;
        std::int64_t changed = 0;  // nanoseconds
        std::optional<Checksum> commit;
        bool settled = false;  // is_settled(), when it was read
        unsigned seen = 0;     // READINGS of its directory when it was there last
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
    };
    struct Directory {
        DirectoryStamp stamp;
        std::unordered_map<std::string, File, Hash, std::equal_to<>> files;
        unsigned readings = 0;
        std::map<std::string, Directory, std::less<>> directories;
    };

    bool refresh(const std::string& path, Directory& directory);
    static void append_directory(std::string& text, const Directory& directory);
    static Directory take_directory(RecordReader& record);
    void note_change(const std::string& path, std::string_view name);
    // Whether anything is not as it was, or cannot be read.
    bool read(const std::string& path, Directory& directory);
    // Looks at the ref NAME in PLACE, of which FILE has what is known. False if it is gone. One that cannot be read
    // counts as broken until DIRECTORY is read again.
    bool look(int place, const char* name, File& file, Directory& directory);
    static void visit(const Visitor& visitor, const std::string& name, const Directory& directory);

    const int repository_;
    const std::string prefix_, path_;
    const std::set<std::string> except_;
    Directory root_;
    bool failed_ = false;  // the last refresh()
    bool has_news_ = false;
    std::optional<Error> unreadable_;                  // of the last ref that it could not read
    std::optional<std::vector<std::string>> changes_;  // since they were taken
    mutable std::optional<std::unordered_map<std::string, std::optional<Checksum>>> refs_;
};

}  // namespace imaged
