// SPDX-License-Identifier: Apache-2.0
#include "store/repository.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "layer/direct-sink.hpp"
#include "layer/dirtree.hpp"
#include "layer/libostree-sink.hpp"
#include "store/repository-place.hpp"

namespace imaged {

namespace {

// How often refs are listed anew while other programs write some.
constexpr unsigned max_ref_listings = 100;

OstreeObjectType object_type(ObjectType type) {
    switch (type) {
        case ObjectType::file: return OSTREE_OBJECT_TYPE_FILE;
        case ObjectType::dirtree: return OSTREE_OBJECT_TYPE_DIR_TREE;
        case ObjectType::dirmeta: return OSTREE_OBJECT_TYPE_DIR_META;
        case ObjectType::commit: return OSTREE_OBJECT_TYPE_COMMIT;
    }
    return OSTREE_OBJECT_TYPE_FILE;
}

Checksum checksum_of(GVariant* bytes, const char* what) {
    gsize size = 0;
    const void* data = g_variant_get_fixed_array(bytes, &size, 1);
    Checksum checksum;
    if (size != checksum.bytes.size())
        throw Error(ErrorKind::repository_damaged, std::string("broken checksum of its ") + what);
    std::memcpy(checksum.bytes.data(), data, size);
    return checksum;
}

std::map<std::string, Checksum> list_refs(OstreeRepo* repo, const char* prefix, OstreeRepoListRefsExtFlags flags) {
    ErrorSlot error;
    GHashTable* table = nullptr;
    // Who writes a ref gives it another name for a moment, and libostree opens each name that it has read; no lock
    // covers refs.
    for (unsigned listing = 1; ostree_repo_list_refs_ext(repo, prefix, &table, flags, nullptr, error.out()) == FALSE;
         ++listing) {
        if (listing == max_ref_listings || !error.matches(G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) error.raise("list refs");
    }
    const HashTablePtr owner(table);
    std::map<std::string, Checksum> refs;
    GHashTableIter iterator;
    g_hash_table_iter_init(&iterator, table);
    gpointer name = nullptr, revision = nullptr;
    while (g_hash_table_iter_next(&iterator, &name, &revision) != FALSE) {
        // A ref file with nonsense in it gives a checksum that no object has.
        const auto checksum = Checksum::from_hex(static_cast<const char*>(revision));
        refs.emplace(static_cast<const char*>(name), checksum.value_or(Checksum{}));
    }
    return refs;
}

[[noreturn]] void raise_damage(const ErrorSlot& error, const std::string& what) {
    try {
        error.raise(what);
    } catch (const Error& cause) {
        throw as_damage(cause);
    }
}

GObjectPtr<OstreeRepo> open_repository(const std::string& path) {
    const auto file = adopt(g_file_new_for_path(path.c_str()));
    auto repo = adopt(ostree_repo_new(file.get()));
    ErrorSlot error;
    if (ostree_repo_open(repo.get(), nullptr, error.out()) == FALSE) raise_damage(error, "open the repository " + path);
    return repo;
}

}  // namespace

Repository::Repository(const std::string& path) : path_(path), repo_(open_repository(path)) {
    objects_ = open_at(fd(), "objects", O_RDONLY | O_DIRECTORY);
    GKeyFile* config = ostree_repo_get_config(repo_.get());
    // libostree's default is true, and so is ours for a value that is no boolean.
    const CharPtr fsync(g_key_file_get_string(config, "core", "fsync", nullptr));
    fsync_ = !fsync || std::string_view(fsync.get()) != "false";
    ErrorSlot error;
    guint64 reserve = 0;
    error.check(ostree_repo_get_min_free_space_bytes(repo_.get(), &reserve, error.out()),
                "read min-free-space of " + path);
    reserve_ = reserve;
}

std::string Repository::mode() const {
    switch (ostree_repo_get_mode(repo_.get())) {
        case OSTREE_REPO_MODE_BARE: return "bare";
        case OSTREE_REPO_MODE_BARE_USER: return "bare-user";
        case OSTREE_REPO_MODE_BARE_USER_ONLY: return "bare-user-only";
        case OSTREE_REPO_MODE_ARCHIVE: return "archive";
        default: return "bare-split-xattrs";
    }
}

void Repository::require_image_mode() const {
    const auto name = mode();
    if (name != "bare" && name != "bare-user" && name != "archive")
        throw Error(ErrorKind::unsupported_image,
                    "the repository " + path_ + " is in the mode " + name +
                        "; container images are kept in bare, bare-user and archive repositories. Make one with "
                        "ostree init --mode=bare");
}

int Repository::fd() const {
    return ostree_repo_get_dfd(repo_.get());
}

std::string Repository::file_suffix() const {
    return ostree_repo_get_mode(repo_.get()) == OSTREE_REPO_MODE_ARCHIVE ? ".filez" : ".file";
}

bool Repository::has_parent() const {
    return ostree_repo_get_parent(repo_.get()) != nullptr;
}

std::optional<Checksum> Repository::resolve(const std::string& ref) const {
    ErrorSlot error;
    char* revision = nullptr;
    if (ostree_repo_resolve_rev_ext(repo_.get(), ref.c_str(), TRUE, OSTREE_REPO_RESOLVE_REV_EXT_LOCAL_ONLY, &revision,
                                    error.out()) == FALSE) {
        struct stat status;
        const bool exists = ::fstatat(fd(), ("refs/heads/" + ref).c_str(), &status, 0) == 0;
        if (exists && S_ISREG(status.st_mode)) return Checksum{};
        // Of refs below, or left behind by refs that are gone.
        if (exists && S_ISDIR(status.st_mode)) return std::nullopt;
        error.raise("resolve the ref " + ref);
    }
    if (revision == nullptr) return std::nullopt;
    const CharPtr owner(revision);
    return Checksum::from_hex(revision);
}

std::map<std::string, Checksum> Repository::refs(const std::string& prefix) const {
    return list_refs(repo_.get(), prefix.c_str(), OSTREE_REPO_LIST_REFS_EXT_EXCLUDE_REMOTES);
}

std::map<std::string, Checksum> Repository::all_refs() const {
    return list_refs(repo_.get(), nullptr, OSTREE_REPO_LIST_REFS_EXT_NONE);
}

void Repository::set_ref(const std::string& ref, const std::optional<Checksum>& commit) {
    ErrorSlot error;
    const auto hex = commit ? commit->hex() : std::string();
    error.check(ostree_repo_set_ref_immediate(repo_.get(), nullptr, ref.c_str(), commit ? hex.c_str() : nullptr,
                                              nullptr, error.out()),
                "write the ref " + ref);
}

void Repository::set_refs(const std::map<std::string, Checksum>& refs) {
    ErrorSlot error;
    error.check(ostree_repo_prepare_transaction(repo_.get(), nullptr, nullptr, error.out()), "start a transaction");
    for (const auto& [ref, commit] : refs)
        ostree_repo_transaction_set_ref(repo_.get(), nullptr, ref.c_str(), commit.hex().c_str());
    if (ostree_repo_commit_transaction(repo_.get(), nullptr, nullptr, error.out()) == FALSE) {
        ostree_repo_abort_transaction(repo_.get(), nullptr, nullptr);
        error.raise("write refs");
    }
}

std::optional<std::string> Repository::Commit::text(const char* key) const {
    const VariantPtr value(g_variant_lookup_value(metadata.get(), key, G_VARIANT_TYPE_STRING));
    if (!value) return std::nullopt;
    return g_variant_get_string(value.get(), nullptr);
}

std::optional<std::string> Repository::load_metadata(ObjectType type, const Checksum& checksum) const {
    const auto hex = checksum.hex();
    const auto name = hex + "." + std::string(suffix(type));
    std::string bytes;
    // By hand, because checking and merging an image reads thousands of them.
    if (const auto file =
            try_open_at(objects_.get(), name.substr(0, 2) + "/" + name.substr(2), O_RDONLY | O_NOFOLLOW)) {
        bytes = read_all(file.get(), max_metadata_bytes, name);
    } else {
        ErrorSlot error;
        GVariant* loaded = nullptr;
        if (ostree_repo_load_variant_if_exists(repo_.get(), object_type(type), hex.c_str(), &loaded, error.out()) ==
            FALSE)
            raise_damage(error, "object " + name + " cannot be read");
        if (loaded == nullptr) return std::nullopt;
        const VariantPtr owner(loaded);
        bytes.assign(static_cast<const char*>(g_variant_get_data(loaded)), g_variant_get_size(loaded));
    }
    if (sha256(bytes) != checksum) throw Error(ErrorKind::repository_damaged, "object " + name + " is corrupt");
    return bytes;
}

Repository::Commit Repository::load_commit(const Checksum& checksum) const {
    const auto bytes = load_metadata(ObjectType::commit, checksum);
    if (!bytes) throw Error(ErrorKind::repository_damaged, "commit " + checksum.hex() + " is missing");
    return parse_commit(*bytes, checksum);
}

Repository::Commit Repository::parse_commit(const std::string& bytes, const Checksum& checksum) {
    const BytesPtr copy(g_bytes_new(bytes.data(), bytes.size()));
    const auto variant = adopt_variant(g_variant_new_from_bytes(OSTREE_COMMIT_GVARIANT_FORMAT, copy.get(), FALSE));
    return in_context("commit " + checksum.hex(), [&] {
        Commit commit;
        commit.metadata.reset(g_variant_get_child_value(variant.get(), 0));
        const VariantPtr parent(g_variant_get_child_value(variant.get(), 1)),
            tree(g_variant_get_child_value(variant.get(), 6)), meta(g_variant_get_child_value(variant.get(), 7));
        if (g_variant_n_children(parent.get()) > 0) commit.parent = checksum_of(parent.get(), "parent");
        commit.timestamp = ostree_commit_get_timestamp(variant.get());
        commit.tree = checksum_of(tree.get(), "tree");
        commit.meta = checksum_of(meta.get(), "root");
        return commit;
    });
}

bool Repository::has_object(ObjectType type, const Checksum& checksum) const {
    const auto hex = checksum.hex();
    const auto name = hex.substr(0, 2) + "/" + hex.substr(2) +
                      (type == ObjectType::file ? file_suffix() : "." + std::string(suffix(type)));
    struct stat status;
    if (::fstatat(objects_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return true;
    // Parent repositories are libostree's business.
    ErrorSlot error;
    gboolean present = FALSE;
    error.check(ostree_repo_has_object(repo_.get(), object_type(type), hex.c_str(), &present, nullptr, error.out()),
                "look for object " + hex);
    return present != FALSE;
}

std::optional<std::string> Repository::fsck_file(const Checksum& checksum) const {
    ErrorSlot error;
    if (ostree_repo_fsck_object(repo_.get(), OSTREE_OBJECT_TYPE_FILE, checksum.hex().c_str(), nullptr, error.out()) !=
        FALSE)
        return std::nullopt;
    try {
        error.raise("libostree");
    } catch (const Error& cause) {
        if (is_shortage(cause)) throw;
        return std::string("is corrupt: ") + cause.what();
    }
}

std::optional<std::string> Repository::read_text(const Checksum& root, const std::string& path,
                                                 std::size_t limit) const {
    auto tree = root;
    for (std::size_t begin = 0;;) {
        const auto end = path.find('/', begin);
        const auto name = path.substr(begin, end == std::string::npos ? std::string::npos : end - begin);
        const auto bytes = load_metadata(ObjectType::dirtree, tree);
        if (!bytes) return std::nullopt;
        const auto listing = parse_dirtree(*bytes);
        if (end != std::string::npos) {
            const auto found = std::find_if(listing.directories.begin(), listing.directories.end(),
                                            [&](const auto& entry) { return entry.name == name; });
            if (found == listing.directories.end()) return std::nullopt;
            tree = found->tree;
            begin = end + 1;
            continue;
        }
        const auto found = std::find_if(listing.files.begin(), listing.files.end(),
                                        [&](const auto& entry) { return entry.name == name; });
        if (found == listing.files.end()) return std::nullopt;
        return read_text(found->object, limit);
    }
}

std::optional<std::string> Repository::read_text(const Checksum& file, std::size_t limit) const {
    ErrorSlot error;
    GInputStream* raw = nullptr;
    const auto what = "read " + file.hex() + ".file";
    error.check(ostree_repo_load_file(repo_.get(), file.hex().c_str(), &raw, nullptr, nullptr, nullptr, error.out()),
                what);
    if (raw == nullptr) return std::nullopt;
    const auto stream = adopt(raw);
    std::string text(limit + 1, '\0');
    gsize size = 0;
    error.check(g_input_stream_read_all(stream.get(), text.data(), text.size(), &size, nullptr, error.out()), what);
    if (size > limit) return std::nullopt;
    text.resize(size);
    return text;
}

std::optional<std::string> Repository::detached_metadata(const Checksum& commit) const {
    ErrorSlot error;
    GVariant* loaded = nullptr;
    error.check(
        ostree_repo_read_commit_detached_metadata(repo_.get(), commit.hex().c_str(), &loaded, nullptr, error.out()),
        "read the detached metadata of commit " + commit.hex());
    if (loaded == nullptr) return std::nullopt;
    const VariantPtr owner(loaded);
    return std::string(static_cast<const char*>(g_variant_get_data(loaded)), g_variant_get_size(loaded));
}

void Repository::write_detached_metadata(const Checksum& commit, const std::string& serialised) {
    const BytesPtr copy(g_bytes_new(serialised.data(), serialised.size()));
    const auto metadata = adopt_variant(g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, copy.get(), FALSE));
    ErrorSlot error;
    error.check(ostree_repo_write_commit_detached_metadata(repo_.get(), commit.hex().c_str(), metadata.get(), nullptr,
                                                           error.out()),
                "write the detached metadata of commit " + commit.hex());
}

void Repository::delete_commit(const Checksum& commit) const {
    const auto hex = commit.hex();
    ErrorSlot error;
    error.check(ostree_repo_delete_object(repo_.get(), OSTREE_OBJECT_TYPE_COMMIT, hex.c_str(), nullptr, error.out()),
                "remove the commit " + hex);
    error.check(ostree_repo_mark_commit_partial(repo_.get(), hex.c_str(), FALSE, error.out()),
                "remove the mark of the commit " + hex);
}

bool Repository::writes_tombstones() const {
    return g_key_file_get_boolean(ostree_repo_get_config(repo_.get()), "core", "tombstone-commits", nullptr) != FALSE;
}

unsigned Repository::lanes(unsigned wanted) const {
    const auto mode = ostree_repo_get_mode(repo_.get());
    return mode == OSTREE_REPO_MODE_BARE || mode == OSTREE_REPO_MODE_BARE_USER ? wanted : 1;
}

std::unique_ptr<ObjectSink> Repository::make_sink(StagingArea& staging, WriterPool& pool) const {
    switch (ostree_repo_get_mode(repo_.get())) {
        case OSTREE_REPO_MODE_BARE:
            if (::geteuid() != 0)
                throw Error(ErrorKind::failed, "writing to the bare repository " + path_ + " needs root");
            return std::make_unique<DirectSink>(DirectFormat::bare, objects_.get(), staging, pool);
        case OSTREE_REPO_MODE_BARE_USER:
            return std::make_unique<DirectSink>(DirectFormat::bare_user, objects_.get(), staging, pool);
        default: require_image_mode(); return std::make_unique<LibostreeSink>(repo_.get());
    }
}

void Repository::sync() const {
    if (fsync_ && ::syncfs(objects_.get()) != 0) throw_errno("sync the repository");
    require_in_place(*this);
}

void Repository::require_space(std::uint64_t bytes) const {
    struct statvfs status;
    if (::fstatvfs(objects_.get(), &status) != 0) throw_errno("statvfs of the repository");
    const auto free = static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
    const auto mebibytes = [](std::uint64_t count) { return std::to_string((count >> 20) + 1) + " MiB"; };
    if (free < bytes + reserve_)
        throw Error(ErrorKind::no_space, "the file system of " + path_ + " has " + mebibytes(free) +
                                             " left; at least " + mebibytes(bytes) + " and the reserve of " +
                                             mebibytes(reserve_) + " (min-free-space) are needed");
}

}  // namespace imaged
