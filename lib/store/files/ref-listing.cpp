// SPDX-License-Identifier: Apache-2.0
#include "store/files/ref-listing.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"

namespace imaged {

bool RefListing::refresh() {
    if (failed_) {
        root_ = {};
        changes_.reset();
    }
    const bool failed = std::exchange(failed_, true);
    unreadable_.reset();
    const bool changed = refresh(path_, root_) || failed;
    failed_ = false;
    if (changed) refs_.reset();
    return changed;
}

const std::unordered_map<std::string, std::optional<Checksum>>& RefListing::refs() const {
    if (!refs_) {
        refs_.emplace();
        visit([&](std::string ref, const auto& commit) { refs_->emplace(std::move(ref), commit); });
    }
    return *refs_;
}

std::string RefListing::record() const {
    std::string text;
    append_directory(text, root_);
    return text;
}

void RefListing::restore(std::string_view text) {
    RecordReader record(text);
    root_ = take_directory(record);
    record.require_end();
}

void RefListing::append_directory(std::string& text, const Directory& directory) {
    append(text, std::uint64_t{directory.files.size()});
    for (const auto& [name, file] : directory.files) {
        append_text(text, name);
        append(text, file.inode);
        append(text, file.changed);
        append(text, file.settled);
        append(text, file.commit.has_value());
        append(text, file.commit.value_or(Checksum()));
    }
    append(text, std::uint64_t{directory.directories.size()});
    for (const auto& [name, child] : directory.directories) {
        append_text(text, name);
        append_directory(text, child);
    }
}

RefListing::Directory RefListing::take_directory(RecordReader& record) {
    Directory directory;
    for (auto left = record.take<std::uint64_t>(); left > 0; --left) {
        auto& file = directory.files[std::string(record.take_text())];
        file.inode = record.take<ino_t>();
        file.changed = record.take<std::int64_t>();
        file.settled = record.take<bool>();
        const bool is_whole = record.take<bool>();
        const auto commit = record.take<Checksum>();
        if (is_whole) file.commit = commit;
    }
    for (auto left = record.take<std::uint64_t>(); left > 0; --left) {
        const std::string name(record.take_text());
        directory.directories.emplace(name, take_directory(record));
    }
    return directory;
}

void RefListing::require_readable() const {
    if (unreadable_) throw *unreadable_;
}

std::optional<std::vector<std::string>> RefListing::take_changes() {
    return std::exchange(changes_, std::vector<std::string>());
}

void RefListing::note_change(const std::string& path, std::string_view name) {
    if (changes_) changes_->push_back(prefix_ + path.substr(path_.size()) + '/' + std::string(name));
}

RefTarget RefListing::find(std::string_view ref) const {
    if (!ref.starts_with(prefix_)) return {};
    ref.remove_prefix(prefix_.size());
    const auto* directory = &root_;
    while (ref.starts_with('/')) {
        ref.remove_prefix(1);
        const auto slash = ref.find('/');
        if (slash == ref.npos) {
            const auto file = directory->files.find(ref);
            return file == directory->files.end() ? RefTarget() : RefTarget{true, file->second.commit};
        }
        const auto found = directory->directories.find(ref.substr(0, slash));
        if (found == directory->directories.end()) return {};
        directory = &found->second;
        ref.remove_prefix(slash);
    }
    return {};
}

bool RefListing::refresh(const std::string& path, Directory& directory) {
    bool changed = directory.stamp.refresh(repository_, path);
    if (!directory.stamp.exists()) {
        if (changed) changes_.reset();
        directory = {};
        return changed;
    }
    if (changed) {
        changed = read(path, directory);
        has_news_ |= changed;
    }
    for (auto& [name, child] : directory.directories) changed |= refresh(path + "/" + name, child);
    return changed;
}

bool RefListing::read(const std::string& path, Directory& directory) {
    ++directory.readings;
    auto known = std::exchange(directory.directories, {});
    const auto known_directories = known.size(), known_files = directory.files.size();
    std::size_t directories_still_there = 0, still_there = 0, now = 0;
    bool changed = false;
    auto opened = try_open_at(repository_, path, O_RDONLY | O_DIRECTORY);
    visit_directory(std::move(opened), path, [&](const DirectoryEntry& entry) {
        const std::string_view name = entry.name;
        if (name.starts_with('.') || name.starts_with("tmp.")) return;  // libostree is just writing it
        // What a link leads to changes elsewhere.
        if (entry.is_link) directory.stamp.distrust();
        const auto kind = kind_of(repository_, path, entry);
        if (kind == RefEntryKind::directory) {
            if (except_.contains(path + "/" + entry.name)) return;
            const auto found = known.find(name);
            if (found != known.end()) ++directories_still_there;
            directory.directories.emplace(name, found == known.end() ? Directory{} : std::move(found->second));
        } else if (kind == RefEntryKind::ref) {
            auto file = directory.files.find(name);
            const bool is_new = file == directory.files.end();
            if (is_new) file = directory.files.emplace(name, File{}).first;
            const auto before = file->second.commit;
            if (!look(entry.directory, entry.name, file->second, directory)) return;
            file->second.seen = directory.readings;
            ++now;
            still_there += is_new ? 0 : 1;
            if (!is_new && before && file->second.commit == before) return;
            changed = true;
            note_change(path, name);
        }
    });
    if (now < directory.files.size()) {
        std::erase_if(directory.files, [&](const auto& file) {
            if (file.second.seen == directory.readings) return false;
            note_change(path, file.first);
            return true;
        });
    }
    if (directories_still_there < known_directories) changes_.reset();
    return changed || still_there < known_files ||
           directories_still_there < std::max(known_directories, directory.directories.size());
}

bool RefListing::look(int place, const char* name, File& file, Directory& directory) {
    struct stat status;
    if (::fstatat(place, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)) {
        const auto changed = in_nanoseconds(status.st_ctim);
        if (file.settled && file.inode == status.st_ino && file.changed == changed) return true;
        file.inode = status.st_ino;
        file.changed = changed;
        file.settled = is_settled(changed);
    } else {
        file.settled = false;
    }
    try {
        const auto target = read_ref_file(place, name);
        if (!target.exists) return false;
        file.commit = target.commit;
        has_news_ |= file.settled;
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        directory.stamp.distrust();
        unreadable_ = error;
        file.settled = false;
        file.commit = {};  // the others are listed all the same
    }
    return true;
}

void RefListing::visit(const Visitor& visitor, const std::string& name, const Directory& directory) {
    for (const auto& [file, content] : directory.files) visitor(name + "/" + file, content.commit);
    for (const auto& [child, content] : directory.directories) visit(visitor, name + "/" + child, content);
}

}  // namespace imaged
