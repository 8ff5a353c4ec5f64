// SPDX-License-Identifier: Apache-2.0
// The interface for all changes of a repository except in scratch directories: implemented by this process
// (direct-writer.hpp), or by one that reads no image (remote-writer.hpp).
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/checksum.hpp"
#include "layer/staging-area.hpp"
#include "oci/digest.hpp"
#include "oci/layout.hpp"

namespace imaged {

// Where CompletenessRecord, DamageRecord and UsageRecord keep their records (record-file.hpp).
inline constexpr const char *records_directory = "extensions/imaged", *completeness_record = "complete",
                            *damage_record = "damaged.json", *usage_record = "usage.json";

// Enough for the records of some ten thousand damaged or counted images.
inline constexpr std::size_t max_damage_bytes = 16 * 1024 * 1024, max_usage_bytes = max_damage_bytes;

// Bytes of a rule for signatures that is noted (store/records/signature-rules.hpp).
inline constexpr std::size_t max_signature_rule = 1024;

enum class LockKind { shared, exclusive };

// Thread-safe where it says so. Throws Error(failed) for what it may not do, besides what the calls name.
class RepositoryWriter {
public:
    virtual ~RepositoryWriter() = default;

    // Repository::Lock says what it is. LIMIT: how long to wait for it.
    virtual void lock(LockKind kind, std::chrono::seconds limit) = 0;
    virtual void unlock(LockKind kind) noexcept = 0;

    virtual std::unique_ptr<StagingArea> make_staging() = 0;
    // Removes the scratch directories of jobs that are gone.
    virtual void clear_leftovers() = 0;

    // Announces the image that this job imports, before it reads a layer: nothing else gets a ref or a record. RULE:
    // which one for signatures let it in (store/records/signature-rules.hpp); empty for a repair, which is about what
    // is in.
    virtual void announce(const Digest& manifest, const ImageLayout& layout, const std::string& rule) = 0;

    // COMMIT is whole: a mark that it is partial goes. No COMMIT removes the ref. Thread-safe.
    virtual void set_ref(const std::string& ref, const std::optional<Checksum>& commit) = 0;
    virtual void set_refs(const std::map<std::string, Checksum>& refs) = 0;
    // Whether write_detached_metadata() may replace what another image's commit has.
    virtual bool replaces_metadata() const = 0;
    // Replaces the metadata. Thread-safe.
    virtual void write_detached_metadata(const Checksum& commit, const std::string& serialised) = 0;
    // Described in verified-layers.hpp. Thread-safe.
    virtual void add_layer(const ImageLayer& layer, const Checksum& commit, bool blob_seen) = 0;
    virtual void add_image(const Digest& manifest, const Checksum& commit) = 0;
    // Replaces the record NAME, one of those above; no TEXT removes it.
    virtual void keep_record(const std::string& name, const std::optional<std::string>& text) = 0;
};

}  // namespace imaged
