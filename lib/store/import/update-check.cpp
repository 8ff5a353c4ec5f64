// SPDX-License-Identifier: Apache-2.0
#include "store/import/update-check.hpp"

#include "base/error.hpp"
#include "source/archive/image-reader.hpp"
#include "store/import/signed-commit.hpp"
#include "store/records/pending-update.hpp"

namespace imaged {

namespace {

SourceImage open_source(ImageReader& reader, const ImportRequest& request, Repository& repository,
                        const Checksum& stored, const ImageReference& target) {
    try {
        return reader.open(request.digest);
    } catch (const Error& error) {
        // What was waiting cannot be had any more.
        if (error.kind() == ErrorKind::not_found && request.remember_update)
            PendingUpdate::forget(repository, stored, target.image());
        throw;
    }
}

}  // namespace

CheckedUpdate check_update(const ImportRequest& request, const Cancellation& cancellation, ImportObserver& observer,
                           const std::function<void(const PreparedImage&, LayerSource&)>& at_source) {
    observer.phase(ImportPhase::manifest);
    const auto target = request.target.value_or(request.image);
    auto existing = Repository::open_existing(request.repository);
    if (!existing) throw no_such_image(target);
    auto& repository = *existing;
    repository.write_through(request.writer);
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    const auto stored = StoredImage::find(repository, target);
    const auto& commit = stored.merge_commit;
    ImageReader reader(request.image, request.proxy, cancellation);
    auto source = open_source(reader, request, repository, commit, target);
    CheckedUpdate checked{stored.digest, {}};
    Presence presence(repository, cancellation);
    auto plan = ImportPlan::make(&repository, &presence, source, target);
    verify_signed_commit(&repository, reader, request.image, source, plan.present);
    if (source.digest == stored.digest) {
        if (request.remember_update) PendingUpdate::forget(repository, commit, target.image());
        return checked;
    }
    if (request.remember_update) {
        checked.is_news = UpdateDigests::load(repository, commit).of(target.image()) != source.digest.text();
        PendingUpdate::store(repository, commit, target.image(),
                             PendingUpdate{source.digest, source.manifest_text, source.config_text});
        repository.sync();
    }
    checked.update = PreparedImage{std::move(source), std::move(plan)};
    if (at_source) at_source(*checked.update, reader);
    return checked;
}

}  // namespace imaged
