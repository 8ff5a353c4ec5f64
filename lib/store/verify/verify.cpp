// SPDX-License-Identifier: Apache-2.0
#include "store/verify/verify.hpp"

#include <set>

#include "base/error.hpp"
#include "base/exposure.hpp"
#include "base/system-failure.hpp"
#include "store/files/record-file.hpp"
#include "store/files/ref-name.hpp"
#include "store/files/verified-layers.hpp"
#include "store/import/merge-check.hpp"
#include "store/records/kept-versions.hpp"
#include "store/records/layer-record.hpp"
#include "store/records/layer-ref.hpp"
#include "store/upkeep/layer-use.hpp"
#include "store/verify/damage-search.hpp"
#include "store/verify/repository-check.hpp"

namespace imaged {

namespace {

// Enough to see what happened; an image that lost a disk has millions.
constexpr std::size_t max_damage = 100;
// Shares of the job.
constexpr double walk_end = 0.1, hash_end = 0.9;

void report(ImageVerdict& verdict, Damage damage) {
    // Of a merge that is whole, but not what it should be.
    if (damage.kind == DamageKind::metadata || damage.kind == DamageKind::merge)
        verdict.damaged_commits.push_back(verdict.commit.value());
    if (++verdict.damage_count <= max_damage) verdict.damage.push_back(std::move(damage));
}

std::string joined(const std::vector<std::string>& paths, std::uint64_t count) {
    std::string text;
    for (const auto& path : paths) text += (text.empty() ? "" : ", ") + path;
    return count > paths.size() ? text + " and " + std::to_string(count - paths.size()) + " more" : text;
}

class Verification {
public:
    Verification(const Repository& repository, const Cancellation& cancellation, WorkObserver& observer)
        : repository_(repository),
          cancellation_(cancellation),
          observer_(observer),
          check_(repository, cancellation, observer),
          merge_check_(repository, cancellation),
          verified_(repository.fd()) {}

    Verdict run(const std::vector<ImageReference>& images) {
        observer_.begin("verify", 0, walk_end, "images");
        if (images.empty())
            add_everything();
        else
            add_images(images);
        std::uint64_t done = 0;
        for (auto& verdict : verdict_.images) {
            unless_unreadable(verdict, [&] { look_at(verdict); });
            observer_.advance(++done, verdict_.images.size());
        }
        for (const auto& image : kept_of_) look_at_kept(image);
        for (const auto& [ref, commit] : whole(unused_)) check_.walk(commit);
        observer_.begin("hash", walk_end, hash_end, "objects");
        check_.hash_files();
        observer_.begin("merge", hash_end, 1, "images");
        done = 0;
        for (auto& verdict : verdict_.images) {
            unless_unreadable(verdict, [&] { conclude(verdict); });
            observer_.advance(++done, verdict_.images.size());
        }
        for (const auto& [image, version] : kept_) conclude_kept(image, version);
        for (const auto& [ref, commit] : unused_) conclude_unused(ref, commit);
        find_marks();
        verdict_.bad_objects = check_.bad_objects();
        if (repository_.mode() == "bare" && others_can_enter(repository_.path()))
            verdict_.warnings.push_back(exposure_warning(repository_.path()));
        if (auto fault = record_place_fault(repository_.fd())) verdict_.warnings.push_back(*std::move(fault));
        verdict_.objects = check_.objects();
        verdict_.bytes = check_.bytes();
        return std::move(verdict_);
    }

private:
    void add_everything() {
        auto& unreadable = verdict_.unreadable;
        for (const auto& [ref, commit] : repository_.refs(image_ref_directory, &unreadable))
            verdict_.images.push_back({.image = image_of_ref(ref), .commit = commit});
        for (const auto& [ref, error] : unreadable)
            verdict_.images.push_back({.image = image_of_ref(ref), .unchecked = error.what()});
        unused_ = LayerUse::find(repository_, {}, &unreadable).unused;
        // Also those of images that another program removed.
        for (const auto& [ref, commit] : repository_.refs(kept_ref_directory, &unreadable)) {
            if (const auto kept = parse_kept_ref(ref)) kept_of_.insert(kept->first);
        }
        std::erase_if(unreadable, [&](const auto& entry) {
            const auto kept = parse_kept_ref(entry.first);
            if (kept) kept_of_.insert(kept->first);  // which finds it
            return kept || entry.first.starts_with(image_ref_prefix);
        });
    }

    void add_images(const std::vector<ImageReference>& images) {
        for (const auto& image : images) {
            ImageVerdict verdict{.image = image.image()};
            bool found = true;
            unless_unreadable(verdict, [&] {
                const auto target = repository_.resolve(image_ref(image));
                found = target.exists;
                verdict.commit = target.commit;
            });
            kept_of_.insert(image_ref(image));
            if (found)
                verdict_.images.push_back(std::move(verdict));
            else
                verdict_.missing.push_back(image);
        }
    }

    // CHECK, unless something of the image could not be read, or cannot now: then the image is unchecked, and the
    // others are checked all the same.
    template <typename Check>
    static void unless_unreadable(ImageVerdict& verdict, Check&& check) {
        if (verdict.unchecked) return;
        try {
            check();
        } catch (const Error& error) {
            if (!is_system_failure(error) || is_shortage(error)) throw;
            verdict.unchecked = error.what();
        }
    }

    // Refs and metadata, and the directories of all that the image names.
    void look_at(ImageVerdict& verdict) {
        cancellation_.check();
        if (!verdict.commit) {
            report(verdict, {.kind = DamageKind::ref, .message = "the image's ref contains no checksum"});
            return;
        }
        check_.walk(*verdict.commit);
        try {
            verdict.stored = StoredImage::load(repository_, verdict.commit, true);
        } catch (const Error& error) {
            if (is_shortage(error)) throw;
            if (!check_.is_bad(object_name(*verdict.commit, ObjectType::commit)))
                report(verdict, {.kind = DamageKind::metadata, .message = error.what()});
            return;
        }
        check_documents(verdict);
        if (verdict.stored->base_commit) check_.walk(*verdict.stored->base_commit);
        for (const auto& layer : verdict.stored->layout.layers) check_layer(verdict, layer);
    }

    void check_documents(ImageVerdict& verdict) {
        const auto& image = *verdict.stored;
        // Others store the manifest as they would write it themselves.
        if (!image.importer.starts_with(own_importer)) return;
        if (sha256(image.manifest_text) != image.digest.checksum())
            report(verdict, {.kind = DamageKind::metadata,
                             .message = "the stored manifest does not have the digest " + image.digest.text()});
        if (sha256(image.config_text) != image.manifest.config.digest.checksum())
            report(verdict,
                   {.kind = DamageKind::metadata,
                    .message = "the stored config does not have the digest " + image.manifest.config.digest.text()});
    }

    void check_layer(ImageVerdict& verdict, const ImageLayer& layer) {
        const auto placed = placed_layer(repository_, verified_, layer);
        const auto& ref = placed.ref;
        const auto& commit = placed.target.commit;
        const auto refuse = [&](const std::string& why) {
            report(verdict, {.kind = DamageKind::ref, .message = why, .ref = ref, .layer = layer.blob.digest});
        };
        if (!placed.target.exists) return refuse("the layer's ref is missing");
        if (!commit) return refuse("the layer's ref contains no checksum");
        check_.walk(*commit);
        const bool verified = verified_.layer(layer.kind, layer.diff_id) == commit;
        if (!verified) verdict.unverified.push_back(layer.blob.digest);
        try {
            const auto content = repository_.load_commit(*commit);
            const bool derived =
                verified ? layer.kind == LayerKind::derived : content.text(importer_version_key).has_value();
            const auto record = LayerRecord::read(content);
            if (derived != (layer.kind == LayerKind::derived) ||
                (!verified && record.diff_id && record.diff_id != layer.diff_id) ||
                (layer.kind == LayerKind::commit && verdict.stored->base_commit &&
                 verdict.stored->base_commit != commit))
                refuse("the layer's ref names a commit that is not the layer's");
        } catch (const Error&) {
            // The commit is bad, and found to be the layer's later on.
        }
    }

    void conclude(ImageVerdict& verdict) {
        cancellation_.check();
        if (check_.any_bad()) find_damage(verdict);
        if (verdict.damage_count > 0 || !verdict.stored) return;
        try {
            judge_merge(verdict, merge_check_.run(*verdict.stored));
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            // What was found in other images is reported all the same.
            if (is_system_failure(error)) {
                verdict.unchecked = error.what();
                return;
            }
            report(verdict,
                   {.kind = DamageKind::merge, .message = std::string("its layers cannot be merged: ") + error.what()});
        }
    }

    void judge_merge(ImageVerdict& verdict, const MergeDifference& difference) {
        if (!is_sound(difference, *verdict.stored)) {
            auto paths = joined(difference.entries, difference.entry_count);
            if (paths.empty()) paths = joined(difference.directories, difference.directory_count);
            report(verdict,
                   {.kind = DamageKind::merge, .message = "the merged tree is not what the layers give: " + paths});
        } else if (difference.directory_count > 0) {
            verdict.notes.push_back("the program that merged it (" + verdict.stored->importer +
                                    ") kept mode, owner or attributes of lower layers for " +
                                    std::to_string(difference.directory_count) +
                                    " directories: " + joined(difference.directories, difference.directory_count));
        }
    }

    void find_damage(ImageVerdict& verdict) {
        DamageSearch search(repository_, check_, cancellation_);
        std::vector<FoundDamage> found;
        const auto add = [&](const Checksum& commit, const std::optional<Digest>& layer, bool has_paths) {
            if (search.add(commit, layer, has_paths, found)) verdict.damaged_commits.push_back(commit);
        };
        if (verdict.stored) {
            for (const auto& layer : verdict.stored->layout.layers) {
                const auto commit = layer_target(repository_, layer).commit;
                if (commit && layer.kind != LayerKind::commit)
                    add(*commit, layer.blob.digest, layer.kind == LayerKind::derived);
            }
            // Last: what chunks hold, it reaches too.
            if (verdict.stored->base_commit)
                add(*verdict.stored->base_commit, verdict.stored->layout.layers.front().blob.digest, true);
        }
        if (verdict.commit) add(*verdict.commit, std::nullopt, true);
        for (auto& damage : found) {
            auto message = damage.object + " " + damage.fault;
            report(verdict, {.kind = DamageKind::object,
                             .message = std::move(message),
                             .layer = std::move(damage.layer),
                             .object = std::move(damage.object),
                             .path = std::move(damage.path)});
        }
    }

    void look_at_kept(const std::string& image_ref) {
        auto found = find_kept_versions(repository_, image_ref);
        for (auto& version : found.whole) {
            check_.walk(version.image.merge_commit);
            if (version.image.base_commit) check_.walk(*version.image.base_commit);
            try {
                for (const auto& layer : version.image.layout.layers) {
                    if (const auto commit = layer_target(repository_, layer).commit) check_.walk(*commit);
                }
                kept_.emplace_back(image_of_ref(image_ref), std::move(version));
            } catch (const Error& error) {
                if (!is_system_failure(error) || is_shortage(error)) throw;
                refuse_kept(image_of_ref(image_ref), version.image.digest, version.ref, error);
            }
        }
        for (const auto& version : found.broken)
            refuse_kept(image_of_ref(image_ref), {}, version.ref, version.error.with_context(version.ref));
    }

    void refuse_kept(const std::string& image, const std::optional<Digest>& digest, const std::string& ref,
                     const Error& why) {
        verdict_.kept.push_back(
            {.image = image, .digest = digest, .ref = ref, .error = why.what(), .unreadable = is_system_failure(why)});
    }

    // Whether they are whole; their merges are not computed again.
    void conclude_kept(const std::string& image, const KeptVersion& version) {
        const auto refuse = [&](const std::string& why) {
            refuse_kept(image, version.image.digest, version.ref, Error(ErrorKind::repository_damaged, why));
        };
        DamageSearch search(repository_, check_, cancellation_);
        std::vector<FoundDamage> found;
        for (const auto& layer : version.image.layout.layers) {
            const auto commit = layer_target(repository_, layer).commit;
            if (!commit) return refuse("layer " + layer.blob.digest.text() + " is missing");
            if (check_.any_bad()) search.add(*commit, layer.blob.digest, layer.kind == LayerKind::derived, found);
        }
        if (check_.any_bad()) search.add(version.image.merge_commit, std::nullopt, true, found);
        if (!found.empty()) refuse(found.front().object + " " + found.front().fault);
    }

    void conclude_unused(const std::string& ref, const std::optional<Checksum>& commit) {
        std::vector<FoundDamage> found;
        if (commit && check_.any_bad())
            DamageSearch(repository_, check_, cancellation_).add(*commit, std::nullopt, false, found);
        if (!commit)
            verdict_.unused_layers.emplace(blob_of_ref(ref), "its ref contains no checksum");
        else if (!found.empty())
            verdict_.unused_layers.emplace(blob_of_ref(ref), found.front().object + " " + found.front().fault);
    }

    // A mark that something is lost outlives what brings it back.
    void find_marks() {
        for (const auto& commit : check_.marked()) {
            std::vector<FoundDamage> found;
            if (check_.any_bad())
                DamageSearch(repository_, check_, cancellation_).add(commit, std::nullopt, false, found);
            if (found.empty()) verdict_.marked.push_back(commit);
        }
    }

    const Repository& repository_;
    const Cancellation& cancellation_;
    WorkObserver& observer_;
    RepositoryCheck check_;
    MergeCheck merge_check_;
    const VerifiedLayers verified_;
    Verdict verdict_;
    std::set<std::string> kept_of_;                          // refs of images
    std::vector<std::pair<std::string, KeptVersion>> kept_;  // by image
    Refs unused_;
};

}  // namespace

Verdict verify_images(const Repository& repository, const std::vector<ImageReference>& images,
                      const Cancellation& cancellation, WorkObserver& observer) {
    return Verification(repository, cancellation, observer).run(images);
}

}  // namespace imaged
