// SPDX-License-Identifier: Apache-2.0
// Changes a repository in this process; uses libostree for each change that libostree has a function for.
#pragma once

#include <ostree.h>

#include "store/files/repository-writer.hpp"

namespace imaged {

class DirectWriter : public RepositoryWriter {
public:
    // Borrows REPOSITORY. PATH is for errors.
    DirectWriter(OstreeRepo* repository, std::string path) : repository_(repository), path_(std::move(path)) {}

    void lock(LockKind kind, std::chrono::seconds limit) override;
    void unlock(LockKind kind) noexcept override;
    std::unique_ptr<StagingArea> make_staging() override;
    void clear_leftovers() override;
    void announce(const Digest&, const ImageLayout&, const std::string&) override {}
    void set_ref(const std::string& ref, const std::optional<Checksum>& commit) override;
    void set_refs(const std::map<std::string, Checksum>& refs) override;
    bool replaces_metadata() const override { return true; }
    void write_detached_metadata(const Checksum& commit, const std::string& serialised) override;
    void add_layer(const ImageLayer& layer, const Checksum& commit, bool blob_seen) override;
    void add_image(const Digest& manifest, const Checksum& commit) override;
    void keep_record(const std::string& name, const std::optional<std::string>& text) override;

private:
    int fd() const { return ostree_repo_get_dfd(repository_); }

    OstreeRepo* const repository_;
    const std::string path_;
};

}  // namespace imaged
