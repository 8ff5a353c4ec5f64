// SPDX-License-Identifier: Apache-2.0
#include "store/repository/repository.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "layer/direct-sink.hpp"
#include "layer/libostree-sink.hpp"
#include "layer/pipe-object.hpp"
#include "store/files/direct-writer.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/repository-creation.hpp"
#include "store/repository/moved-repository.hpp"

namespace imaged {

namespace {

Checksum checksum_of(GVariant* bytes, const char* what) {
    gsize size = 0;
    const void* data = g_variant_get_fixed_array(bytes, &size, 1);
    Checksum checksum;
    if (size != checksum.bytes.size())
        throw Error(ErrorKind::repository_damaged, std::string("broken checksum of its ") + what);
    std::memcpy(checksum.bytes.data(), data, size);
    return checksum;
}

// A ref that libostree is just writing. Names of images and layers have no dots.
bool is_unfinished(const std::string& ref) {
    return ref.compare(ref.rfind('/') + 1, 4, "tmp.") == 0;
}

constexpr int open_attempts = 5;
// Of one commit, signatures and what imaged remembers of waiting updates.
constexpr std::size_t max_detached_metadata_bytes = 128UL * 1024 * 1024;

[[noreturn]] void raise_damage(const ErrorSlot& error, const std::string& what) {
    try {
        error.raise(what);
    } catch (const Error& cause) {
        throw as_damage(cause);
    }
}

GObjectPtr<OstreeRepo> open_repository(const std::string& path) {
    try {
        // libostree would wait for who writes to a pipe.
        try_open_file(AT_FDCWD, path + "/config");
    } catch (const Error& error) {
        throw as_damage(error);
    }
    const auto file = adopt(g_file_new_for_path(path.c_str()));
    // libostree makes directories in tmp and opens them; another program that empties tmp comes between. Damage stays.
    for (int left = open_attempts; true;) {
        auto repo = adopt(ostree_repo_new(file.get()));
        ErrorSlot error;
        if (ostree_repo_open(repo.get(), nullptr, error.out()) != FALSE) return repo;
        if (--left == 0) raise_damage(error, "open the repository " + path);
    }
}

// Whether FILE, below the repository, is a directory of refs that imaged writes, or one that such a directory is in.
bool is_own_directory(const std::string& file) {
    return std::any_of(own_ref_directories.begin(), own_ref_directories.end(), [&](const char* directory) {
        return ("refs/heads/" + std::string(directory) + "/").starts_with(file + "/");
    });
}

}  // namespace

Repository::Repository(const std::string& path)
    : path_(path), repo_(open_repository(path)), writer_(std::make_shared<DirectWriter>(repo_.get(), path)) {
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

std::optional<Repository> Repository::open_existing(const std::string& path) {
    if (!is_repository(path)) return std::nullopt;
    return std::optional<Repository>(std::in_place, path);
}

Repository Repository::open_or_create(const std::string& path) {
    if (!is_repository(path)) create(path);
    return Repository(path);
}

void Repository::create(const std::string& path) {
    make_repository(path);
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

std::string Repository::file_suffix() const {
    return ostree_repo_get_mode(repo_.get()) == OSTREE_REPO_MODE_ARCHIVE ? ".filez" : ".file";
}

RefTarget Repository::resolve(const std::string& ref) const {
    const auto found = read_ref_file(fd(), "refs/heads/" + ref);
    if (found.exists || !has_parent()) return found;
    // Parent repositories are libostree's business.
    ErrorSlot error;
    char* revision = nullptr;
    error.check(ostree_repo_resolve_rev_ext(repo_.get(), ref.c_str(), TRUE, OSTREE_REPO_RESOLVE_REV_EXT_LOCAL_ONLY,
                                            &revision, error.out()),
                "resolve the ref " + ref);
    if (revision == nullptr) return {};
    const CharPtr owner(revision);
    return {true, Checksum::from_hex(revision)};
}

Refs Repository::refs(const std::string& prefix, UnreadableRefs* unreadable) const {
    Refs refs;
    visit_refs(fd(), "refs/heads/" + prefix, prefix + "/", unreadable,
               [&](const std::string& name, const auto& commit) {
                   if (!is_unfinished(name)) refs.emplace(name, commit);
               });
    return refs;
}

Refs Repository::all_refs(bool links_lead_somewhere) const {
    Refs refs, remote;
    struct stat status;
    const auto add = [&](const std::string& path, Refs& found) {
        visit_refs(fd(), path, "", nullptr, [&](const std::string& name, const auto& commit) {
            const auto file = path + "/" + name;
            if (!commit && (links_lead_somewhere || is_own_directory(file)) &&
                ::fstatat(fd(), file.c_str(), &status, 0) != 0)
                throw Error(ErrorKind::repository_damaged,
                            file + " is a symbolic link that leads nowhere: restore what it leads to, or remove it");
            found.emplace(name, commit);
        });
    };
    if (::fstatat(fd(), "refs/heads", &status, 0) != 0) throw_errno("list refs/heads");
    add("refs/heads", refs);
    add("refs/mirrors", refs);
    add("refs/remotes", remote);
    for (const auto& [name, commit] : remote) {
        const auto slash = name.find('/');
        if (slash != std::string::npos) refs.emplace(name.substr(0, slash) + ":" + name.substr(slash + 1), commit);
    }
    return refs;
}

std::map<std::string, std::string> Repository::aliases(UnreadableRefs* unreadable) const {
    std::map<std::string, std::string> aliases;
    visit_ref_files(fd(), "refs/heads", "", unreadable, [&](const RefEntry& entry) {
        if (!entry.alias) return;
        read_or_note(unreadable, entry.name, [&] {
            if (auto target = alias_target(fd(), entry.name)) aliases.emplace(entry.name, *std::move(target));
        });
    });
    return aliases;
}

std::optional<std::string> Repository::Commit::text(const char* key) const {
    const VariantPtr value(g_variant_lookup_value(metadata.get(), key, G_VARIANT_TYPE_STRING));
    if (!value) return std::nullopt;
    return g_variant_get_string(value.get(), nullptr);
}

std::optional<std::string> Repository::load_metadata(ObjectType type, const Checksum& checksum) const {
    const auto hex = checksum.hex();
    const auto name = object_name(checksum, type);
    std::string bytes;
    // By hand, because checking and merging an image reads thousands of them.
    if (const auto file = try_open_at(objects_.get(), object_path(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)) {
        try {
            bytes = read_all(file.get(), max_metadata_bytes, "object " + name);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::corrupt_input) throw;
            throw Error(ErrorKind::repository_damaged, error.what());  // it is too large
        }
    } else {
        ErrorSlot error;
        GVariant* loaded = nullptr;
        if (ostree_repo_load_variant_if_exists(repo_.get(), libostree_type(type), hex.c_str(), &loaded, error.out()) ==
            FALSE)
            raise_damage(error, "object " + name + " cannot be read");
        if (loaded == nullptr) return std::nullopt;
        const VariantPtr owner(loaded);
        bytes = bytes_of(loaded);
    }
    if (sha256(bytes) != checksum) throw Error(ErrorKind::repository_damaged, "object " + name + " is corrupt");
    return bytes;
}

std::string Repository::require_metadata(ObjectType type, const Checksum& checksum) const {
    auto bytes = load_metadata(type, checksum);
    if (!bytes) throw Error(ErrorKind::repository_damaged, "object " + object_name(checksum, type) + " is missing");
    return *std::move(bytes);
}

Repository::Commit Repository::load_commit(const Checksum& checksum) const {
    const auto bytes = load_metadata(ObjectType::commit, checksum);
    if (!bytes) throw Error(ErrorKind::repository_damaged, "commit " + checksum.hex() + " is missing");
    return parse_commit(*bytes, checksum);
}

Repository::Commit Repository::parse_commit(const std::string& bytes, const Checksum& checksum) {
    const auto variant = parse_variant(OSTREE_COMMIT_GVARIANT_FORMAT, bytes);
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
    const auto path = object_path(type == ObjectType::file ? hex + file_suffix() : object_name(checksum, type));
    if (exists(objects_.get(), path)) return true;
    // Parent repositories are libostree's business.
    ErrorSlot error;
    gboolean present = FALSE;
    error.check(ostree_repo_has_object(repo_.get(), libostree_type(type), hex.c_str(), &present, nullptr, error.out()),
                "look for object " + hex);
    return present != FALSE;
}

void Repository::require_no_pipe(const Checksum& checksum, const std::string& suffix) const {
    imaged::require_no_pipe(objects_.get(), checksum, suffix);
}

std::optional<std::string> Repository::read_text(const Checksum& file, std::size_t limit) const {
    require_no_pipe(file, file_suffix());
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
    require_no_pipe(commit, ".commitmeta");
    ErrorSlot error;
    GVariant* loaded = nullptr;
    error.check(
        ostree_repo_read_commit_detached_metadata(repo_.get(), commit.hex().c_str(), &loaded, nullptr, error.out()),
        "read the detached metadata of commit " + commit.hex());
    if (loaded == nullptr) return std::nullopt;
    const VariantPtr owner(loaded);
    if (g_variant_get_size(loaded) > max_detached_metadata_bytes)
        throw Error(ErrorKind::repository_damaged, "the detached metadata of commit " + commit.hex() +
                                                       " is larger than the limit of " +
                                                       std::to_string(max_detached_metadata_bytes) + " bytes");
    return bytes_of(loaded);
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

unsigned Repository::layers_at_once(unsigned wanted) const {
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
        default: require_image_mode(); return std::make_unique<LibostreeSink>(repo_.get(), objects_.get(), staging);
    }
}

void Repository::sync() const {
    if (fsync_ && ::syncfs(objects_.get()) != 0) throw_errno("sync the repository");
    require_in_place(*this);
}

void Repository::settle() const {
    if (fsync_) static_cast<void>(::syncfs(objects_.get()));
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
