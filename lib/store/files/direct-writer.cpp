// SPDX-License-Identifier: Apache-2.0
#include "store/files/direct-writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/error.hpp"
#include "base/glib.hpp"
#include "base/system-failure.hpp"
#include "store/files/moved-var.hpp"
#include "store/files/partial-mark.hpp"
#include "store/files/record-file.hpp"
#include "store/files/ref-file.hpp"
#include "store/files/verified-layers.hpp"

namespace imaged {

namespace {

OstreeRepoLockType lock_type(LockKind kind) {
    return kind == LockKind::shared ? OSTREE_REPO_LOCK_SHARED : OSTREE_REPO_LOCK_EXCLUSIVE;
}

}  // namespace

// libostree knows the limit itself.
void DirectWriter::lock(LockKind kind, std::chrono::seconds) {
    ErrorSlot slot;
    if (ostree_repo_lock_push(repository_, lock_type(kind), nullptr, slot.out()) != FALSE) return;
    std::optional<int> number;
    try {
        slot.raise(path_);
    } catch (const Error& error) {
        number = error_number(error);
    }
    // libostree's wait for a lock that another program holds ends with this error, or with none of the system.
    slot.raise((!number || number == EAGAIN ? "another program holds the lock of the repository "
                                            : "cannot lock the repository ") +
               path_);
}

void DirectWriter::unlock(LockKind kind) noexcept {
    ostree_repo_lock_pop(repository_, lock_type(kind), nullptr, nullptr);
}

std::unique_ptr<StagingArea> DirectWriter::make_staging() {
    return std::make_unique<LocalStaging>(fd());
}

void DirectWriter::clear_leftovers() {
    StagingArea::clear_leftovers(fd());
}

void DirectWriter::set_ref(const std::string& ref, const std::optional<Checksum>& commit) {
    require_no_ref_directory(fd(), ref);
    if (commit) remove_partial_mark(fd(), *commit);
    ErrorSlot error;
    const auto hex = commit ? commit->hex() : std::string();
    if (ostree_repo_set_ref_immediate(repository_, nullptr, ref.c_str(), commit ? hex.c_str() : nullptr, nullptr,
                                      error.out()) != FALSE)
        return;
    // Once it has, libostree stamps the repository's directory: that failed, and the ref is what it was to be.
    if (read_ref_file(fd(), "refs/heads/" + ref) == RefTarget{commit.has_value(), commit}) return;
    error.raise("write the ref " + ref);
}

void DirectWriter::set_refs(const std::map<std::string, Checksum>& refs) {
    // Not in a transaction of libostree: one that fails leaves its directory in tmp.
    for (const auto& [ref, commit] : refs) set_ref(ref, commit);
}

void DirectWriter::write_detached_metadata(const Checksum& commit, const std::string& serialised) {
    const auto metadata = parse_variant(G_VARIANT_TYPE_VARDICT, serialised);
    ErrorSlot error;
    error.check(ostree_repo_write_commit_detached_metadata(repository_, commit.hex().c_str(), metadata.get(), nullptr,
                                                           error.out()),
                "write the detached metadata of commit " + commit.hex());
}

void DirectWriter::add_layer(const ImageLayer& layer, const Checksum& commit, bool blob_seen) {
    VerifiedLayers(fd()).add_layer(layer, commit, moves_var(), blob_seen);
}

void DirectWriter::add_image(const Digest& manifest, const Checksum& commit) {
    VerifiedLayers(fd()).add_image(manifest, commit);
}

void DirectWriter::keep_record(const std::string& name, const std::optional<std::string>& text) {
    const auto directory = text ? make_records(fd(), records_directory) : open_records(fd(), records_directory);
    if (text) {
        if (!directory) throw Error(ErrorKind::failed, record_place_fault(fd()).value_or(""));
        write_record(directory.get(), name, *text);
    } else if (directory && ::unlinkat(directory.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
        throw_errno("remove the record " + name);
    }
}

}  // namespace imaged
