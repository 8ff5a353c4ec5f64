// SPDX-License-Identifier: Apache-2.0
#include "store/prune.hpp"

#include "base/error.hpp"
#include "store/layer-use.hpp"
#include "store/ref-name.hpp"
#include "store/stored-image.hpp"

namespace imaged {

namespace {

std::vector<std::string> digests_of(const std::map<std::string, Checksum>& refs) {
    std::vector<std::string> digests;
    for (const auto& [ref, commit] : refs)
        digests.push_back(unescape_ref(std::string_view(ref).substr(layer_ref_prefix.size())).value_or(ref));
    return digests;
}

std::string digest_of(const Repository& repository, const Checksum& commit) {
    try {
        return repository.load_commit(commit).text(manifest_digest_key).value_or("");
    } catch (const Error&) {
        return {};  // a damaged image can be removed like any other
    }
}

}  // namespace

PruneOutcome prune(const PruneRequest& request, const Cancellation& cancellation) {
    Repository repository(request.repository);
    const Repository::Lock lock(repository, Repository::LockKind::exclusive);
    if (!request.dry_run) StagingArea::clear_leftovers(repository.fd());
    const auto use = LayerUse::find(repository);
    PruneOutcome outcome;
    outcome.layers = digests_of(use.unused);
    outcome.damaged = use.damaged;
    GarbageRules rules;
    rules.dry_run = request.dry_run;
    rules.foreign_commits = request.foreign_commits;
    for (const auto& [ref, commit] : use.unused) {
        rules.ignored_refs.insert(ref);
        rules.image_commits.insert(commit);
        if (!request.dry_run) repository.set_ref(ref, std::nullopt);
    }
    if (!request.dry_run) repository.sync();
    outcome.garbage = collect_garbage(repository, rules, cancellation);
    return outcome;
}

RemoveOutcome remove_images(const std::string& path, const std::vector<ImageReference>& images) {
    Repository repository(path);
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    RemoveOutcome outcome;
    for (const auto& image : images) {
        const auto ref = image_ref(image);
        const auto commit = repository.resolve(ref);
        if (!commit) {
            outcome.missing.push_back(image.image());
            continue;
        }
        outcome.removed.push_back({image.image(), digest_of(repository, *commit)});
        repository.set_ref(ref, std::nullopt);
    }
    outcome.layers = drop_unused_layers(repository);
    repository.sync();
    return outcome;
}

std::vector<std::string> drop_unused_layers(Repository& repository) {
    const auto use = LayerUse::find(repository);
    for (const auto& [ref, commit] : use.unused) repository.set_ref(ref, std::nullopt);
    return digests_of(use.unused);
}

}  // namespace imaged
