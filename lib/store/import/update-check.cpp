// SPDX-License-Identifier: Apache-2.0
#include "store/import/update-check.hpp"

#include "base/error.hpp"
#include "store/import/signed-commit.hpp"
#include "store/records/pending-update.hpp"
#include "store/repository/ref-name.hpp"

namespace imaged {

namespace {

SourceImage open_source(ImageProxy& proxy, const ImportRequest& request, Repository& repository, const Checksum& stored,
                        const ImageReference& target) {
    try {
        return open_source_image(proxy, request.image, request.digest, request.proxy);
    } catch (const Error& error) {
        // What was waiting cannot be had any more.
        if (error.kind() == ErrorKind::not_found && request.remember_update)
            PendingUpdate::forget(repository, stored, target.image());
        throw;
    }
}

}  // namespace

CheckedUpdate check_update(const ImportRequest& request, const Cancellation& cancellation, ImportObserver& observer) {
    observer.phase(ImportPhase::manifest);
    const auto target = request.target.value_or(request.image);
    const auto missing = [&] {
        return Error(ErrorKind::not_found, "image " + target.image() + " is not in the repository");
    };
    auto existing = Repository::open_existing(request.repository);
    if (!existing) throw missing();
    auto& repository = *existing;
    repository.write_through(request.writer);
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    const auto commit = repository.resolve(image_ref(target));
    if (!commit) throw missing();
    const auto stored = in_context("image " + target.image(), [&] { return StoredImage::load(repository, *commit); });
    ImageProxy proxy(cancellation, request.proxy);
    auto source = open_source(proxy, request, repository, *commit, target);
    CheckedUpdate checked{stored.digest.text(), {}};
    Presence presence(repository, cancellation);
    auto plan = ImportPlan::make(&repository, &presence, source, target);
    verify_signed_commit(&repository, proxy, request.image, source, plan.present);
    if (source.digest == stored.digest) {
        if (request.remember_update) PendingUpdate::forget(repository, *commit, target.image());
        return checked;
    }
    if (request.remember_update) {
        checked.is_news = UpdateDigests::load(repository, *commit).of(target.image()) != source.digest.text();
        PendingUpdate::store(repository, *commit, target.image(),
                             PendingUpdate{source.digest, source.manifest_text, source.config_text});
        repository.sync();
    }
    checked.update = PreparedImage{std::move(source), std::move(plan)};
    return checked;
}

}  // namespace imaged
