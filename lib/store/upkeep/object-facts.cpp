// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/object-facts.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/hex-byte.hpp"
#include "base/system-failure.hpp"
#include "layer/dirtree.hpp"
#include "layer/object-placement.hpp"
#include "store/files/record-file.hpp"
#include "store/files/sealed-record.hpp"
#include "store/upkeep/garbage.hpp"

namespace imaged {

namespace {

constexpr std::uint64_t block_bytes = 512;  // of st_blocks
constexpr const char* objects_record = "objects";
constexpr std::string_view objects_version = "imaged objects 4";
// Of some five million objects.
constexpr std::size_t max_objects_bytes = 256 * 1024 * 1024;

ObjectKind kind_of(std::string_view type) {
    constexpr std::pair<std::string_view, ObjectKind> kinds[] = {{"file", ObjectKind::file},
                                                                 {"filez", ObjectKind::file},
                                                                 {"dirtree", ObjectKind::dirtree},
                                                                 {"dirmeta", ObjectKind::dirmeta},
                                                                 {"commit", ObjectKind::commit},
                                                                 {"commitmeta", ObjectKind::metadata},
                                                                 {"commitmeta-compat", ObjectKind::compat_metadata}};
    for (const auto& [name, kind] : kinds) {
        if (name == type) return kind;
    }
    return ObjectKind::other;
}

// The verified content; nullopt for an object that is gone by now. Throws Error(repository_damaged).
std::optional<std::string> read_metadata(const LooseObject& object) {
    const auto file = try_open_at(object.directory, object.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file) return std::nullopt;
    auto bytes = read_all(file.get(), max_metadata_bytes, object.name);
    if (sha256(bytes) != object.checksum) throw Error(ErrorKind::repository_damaged, "it is corrupt");
    return bytes;
}

void name_entries(const std::string& bytes, std::vector<ObjectKey>& named) {
    const auto listing = parse_dirtree(bytes);
    for (const auto& file : listing.files) named.emplace_back(file.object, ObjectKind::file);
    for (const auto& directory : listing.directories) {
        named.emplace_back(directory.tree, ObjectKind::dirtree);
        named.emplace_back(directory.meta, ObjectKind::dirmeta);
    }
}

void name_parts(const Repository::Commit& commit, std::vector<ObjectKey>& named) {
    named.emplace_back(commit.tree, ObjectKind::dirtree);
    named.emplace_back(commit.meta, ObjectKind::dirmeta);
    if (commit.parent) named.emplace_back(*commit.parent, ObjectKind::commit);
}

void look_at(const Repository& repository, const LooseObject& object, ObjectKey key, DirectoryFacts& facts) {
    struct stat status;
    if (::fstatat(object.directory, object.name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return;
        throw_errno("look at the object " + object.checksum.hex());
    }
    ObjectFact fact{key, static_cast<std::uint64_t>(status.st_blocks) * block_bytes,
                    static_cast<std::uint32_t>(facts.named.size())};
    if (key.kind() == ObjectKind::commit) {
        facts.named.emplace_back(object.checksum, ObjectKind::metadata);
        facts.named.emplace_back(object.checksum, ObjectKind::compat_metadata);
    }
    if (key.kind() == ObjectKind::commit || key.kind() == ObjectKind::dirtree) {
        try {
            if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::repository_damaged, "it is no file");
            const auto bytes = read_metadata(object);
            if (!bytes) return facts.named.resize(fact.first, key);
            if (key.kind() == ObjectKind::dirtree) {
                name_entries(*bytes, facts.named);
            } else {
                const auto commit = Repository::parse_commit(*bytes, object.checksum);
                name_parts(commit, facts.named);
                fact.from_image = came_from_image(repository, commit);
            }
        } catch (const Error& error) {
            if (is_system_failure(error)) throw;
            fact.broken = true;
        }
    }
    if (status.st_nlink > 1) {
        facts.links.push_back({key, object.name, fact.bytes, {status.st_dev, status.st_ino}, status.st_nlink});
        fact.bytes = 0;
    }
    fact.count = static_cast<std::uint32_t>(facts.named.size() - fact.first);
    facts.objects.push_back(fact);
}

// Detached metadata is replaced under the same name.
bool is_immutable(ObjectKind kind) {
    return kind == ObjectKind::file || kind == ObjectKind::dirtree || kind == ObjectKind::dirmeta ||
           kind == ObjectKind::commit;
}

// Takes over what is KNOWN of the object. False if that is nothing, or may be wrong by now.
bool take_known(ObjectKey key, const DirectoryFacts& known, DirectoryFacts& facts) {
    if (!is_immutable(key.kind())) return false;
    const auto found =
        std::lower_bound(known.objects.begin(), known.objects.end(), key,
                         [](const ObjectFact& fact, const ObjectKey& wanted) { return fact.key < wanted; });
    if (found == known.objects.end() || found->key != key) return false;
    auto fact = *found;
    fact.first = static_cast<std::uint32_t>(facts.named.size());
    const auto first = known.named.begin() + found->first;
    facts.named.insert(facts.named.end(), first, first + found->count);
    facts.objects.push_back(fact);
    return true;
}

// The repository that a record is of.
std::uint64_t place_of(const Repository& repository) {
    struct stat status;
    if (::fstat(repository.objects(), &status) != 0) throw_errno("look at the objects of " + repository.path());
    return status.st_ino;
}

// Links are looked at each time, and what is broken may be repaired.
std::vector<ObjectFact> kept_objects(const DirectoryFacts& facts) {
    std::vector<ObjectKey> links;
    for (const auto& link : facts.links) links.push_back(link.key);
    std::sort(links.begin(), links.end());
    std::vector<ObjectFact> kept;
    std::copy_if(facts.objects.begin(), facts.objects.end(), std::back_inserter(kept), [&](const auto& fact) {
        return !fact.broken && !std::binary_search(links.begin(), links.end(), fact.key);
    });
    return kept;
}

// Of an object directory: zero if it is missing, or if the next change of it might have the same one.
FileStamp settled_stamp(const Repository& repository, unsigned number) {
    const auto stamp = FileStamp::of(repository.objects(), hex_byte(number));
    return is_settled(stamp.changed) ? stamp : FileStamp();
}

void sort(DirectoryFacts& facts) {
    std::sort(facts.objects.begin(), facts.objects.end(),
              [](const auto& one, const auto& other) { return one.key < other.key; });
}

// Lists directory NUMBER, and takes over what is KNOWN of the objects there. Whether anything is to be kept anew.
bool list(const Repository& repository, unsigned number, const DirectoryFacts& known, DirectoryFacts& facts,
          const Cancellation& cancellation) {
    std::size_t taken = 0;
    visit_objects(repository.objects(), number, [&](const LooseObject& object) {
        cancellation.check();
        if (object.is_directory) return;
        const ObjectKey key(object.checksum, kind_of(object.type));
        if (take_known(key, known, facts))
            ++taken;
        else
            look_at(repository, object, key, facts);
        if (key.kind() == ObjectKind::commit) facts.commits.push_back(object.checksum);
    });
    sort(facts);
    return taken != known.objects.size() || kept_objects(facts).size() != taken;
}

// Looks at the links of directory NUMBER again, of which all else is known. Whether anything is to be kept anew.
bool look_at_links(const Repository& repository, unsigned number, DirectoryFacts& facts) {
    const auto links = std::exchange(facts.links, {});
    if (links.empty()) return false;
    const auto directory = try_open_at(repository.objects(), hex_byte(number), O_RDONLY | O_DIRECTORY);
    if (!directory) return true;
    for (const auto& link : links) {
        if (const auto object = loose_object(number, directory.get(), link.name.c_str()))
            look_at(repository, *object, link.key, facts);
    }
    sort(facts);
    return facts.links.size() != links.size();
}

// Of links only the names are kept.
DirectoryFacts take_directory(RecordReader& record) {
    DirectoryFacts facts;
    facts.stamp = record.take<FileStamp>();
    facts.objects = record.take_all(ObjectFact{ObjectKey(0), 0, 0});
    facts.named = record.take_all(ObjectKey(0));
    facts.commits = record.take_all(Checksum());
    for (auto left = record.take<std::uint64_t>(); left > 0; --left) {
        const ObjectKey key(record.take<std::uint64_t>());
        facts.links.push_back({key, std::string(record.take_text()), 0, {}, 0});
    }
    return facts;
}

void append_directory(std::string& text, const DirectoryFacts& facts) {
    auto kept = kept_objects(facts);
    std::vector<ObjectKey> named;
    named.reserve(facts.named.size());
    for (auto& fact : kept) {
        const auto first = facts.named.begin() + fact.first;
        fact.first = static_cast<std::uint32_t>(named.size());
        named.insert(named.end(), first, first + fact.count);
    }
    append(text, facts.stamp);
    append_all(text, kept);
    append_all(text, named);
    append_all(text, facts.commits);
    append(text, std::uint64_t{facts.links.size()});
    for (const auto& link : facts.links) {
        append(text, link.key.value());
        append_text(text, link.name);
    }
}

// A record is the version, the repository, and blocks of one directory each, the last of which counts: the number of
// the directory, the facts, and the SHA-256 of both.
std::string record_head(const Repository& repository) {
    std::string text(objects_version);
    append(text, place_of(repository));
    return text;
}

void append_block(std::string& text, unsigned number, const DirectoryFacts& facts) {
    std::string block;
    append(block, number);
    append_directory(block, facts);
    append(block, sha256(block));
    append_text(text, block);
}

}  // namespace

ObjectKey::ObjectKey(const Checksum& checksum, ObjectKind kind) : value_(0) {
    for (std::size_t i = 0; i < sizeof value_; ++i) value_ = (value_ << 8) | checksum.bytes[i];
    value_ = (value_ & ~kind_bits) | static_cast<std::uint64_t>(kind);
}

ObjectFacts ObjectFacts::read(const Repository& repository, ObjectFacts known, const Cancellation& cancellation,
                              WorkObserver& observer) {
    ObjectFacts facts;
    facts.recorded_ = known.recorded_;
    facts.counting_ = known.counting_;
    std::mutex mutex;
    unsigned done = 0;
    for_each_object_directory(object_threads(), [&](unsigned number) {
        auto& found = facts.directories_[number];
        auto& before = known.directories_[number];
        const auto stamp = settled_stamp(repository, number);
        const bool is_same = stamp.inode != 0 && stamp == before.stamp;
        bool is_new =
            is_same ? look_at_links(repository, number, before) : list(repository, number, before, found, cancellation);
        if (is_same) found = std::exchange(before, {});
        const bool has_broken =
            std::any_of(found.objects.begin(), found.objects.end(), [](const auto& object) { return object.broken; });
        found.stamp = has_broken ? FileStamp() : stamp;
        is_new |= found.stamp.inode != 0 && !is_same;
        const std::lock_guard lock(mutex);
        facts.is_new_[number] = is_new;
        observer.advance(++done, object_directories);
    });
    return facts;
}

ObjectFacts ObjectFacts::load(const Repository& repository) noexcept {
    ObjectFacts facts;
    try {
        const auto directory = open_records(repository.fd(), records_directory);
        const auto text = directory ? read_record(directory.get(), objects_record, max_objects_bytes) : std::nullopt;
        const auto head = record_head(repository);
        if (!text || !text->starts_with(head)) return facts;
        std::array<std::string_view, object_directories> blocks;
        RecordReader record(std::string_view(*text).substr(head.size()));
        while (!record.at_end()) {
            const auto block = unsealed(record.take_text(), "");
            if (!block) return facts;
            RecordReader reader(*block);
            blocks.at(reader.take<unsigned>()) = *block;
        }
        for (unsigned i = 0; i < object_directories; ++i) {
            if (blocks[i].empty()) continue;
            RecordReader reader(blocks[i].substr(sizeof i));
            facts.directories_[i] = take_directory(reader);
            reader.require_end();
            facts.counting_ += blocks[i].size();
        }
        facts.recorded_ = text->size();
    } catch (const std::exception&) {
        return {};
    }
    return facts;
}

void ObjectFacts::save(const Repository& repository) const {
    if (is_new_.none()) return;
    const auto directory = make_records(repository.fd(), records_directory);
    if (!directory) return;
    std::string text;
    if (recorded_ > 0) {
        for (unsigned i = 0; i < object_directories; ++i) {
            if (is_new_[i]) append_block(text, i, directories_[i]);
        }
        if (recorded_ + text.size() <= std::min(2 * counting_, max_objects_bytes) &&
            append_record(directory.get(), objects_record, text))
            return;
    }
    text = record_head(repository);
    for (unsigned i = 0; i < object_directories; ++i) {
        append_block(text, i, directories_[i]);
        if (text.size() > max_objects_bytes) return;
    }
    write_record(directory.get(), objects_record, text);
}

std::size_t estimated_objects(const Repository& repository) {
    std::size_t count = 0;
    visit_objects(repository.objects(), 0, [&](const LooseObject&) { ++count; });
    return count * object_directories;
}

}  // namespace imaged
