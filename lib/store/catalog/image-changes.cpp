// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/image-changes.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.hpp"
#include "store/catalog/update-tree.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/kept-versions.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/pending-update.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

namespace {

constexpr const char* version_key = "version";
// The version of the kernel in an image, as rpm-ostree and ostree-ext write it.
constexpr const char* kernel_label = "ostree.linux";
// The refs that OSTree gives the commits of deployments.
constexpr const char* deployment_refs[] = {"ostree/0", "ostree/1"};

struct Side {
    VersionSide named;
    Checksum tree;
};

Side side_of(const StoredImage& image) {
    return {{image.digest.text(), image.config.version(), image.deployable().hex()}, image.tree};
}

class ChangesSearch {
public:
    ChangesSearch(const Repository& repository, const ChangesRequest& request, const Cancellation& cancellation)
        : repository_(repository),
          request_(request),
          cancellation_(cancellation),
          current_(StoredImage::find(repository, request.image)) {}

    ImageChanges run(const FoundUpdate& update) {
        const auto from = side_of(current_);
        changes_.from = from.named;
        if (const auto to = known_update(update.image.digest, update.image.manifest, update.image.config))
            compare(from.tree, *to);
        else
            look_at_source(update);
        return std::move(changes_);
    }

    ImageChanges run() {
        require_one_older();
        const auto from = older();
        changes_.from = from.named;
        const auto to = request_.update ? update() : side_of(current_);
        if (to) compare(from.tree, *to);
        return std::move(changes_);
    }

private:
    void require_one_older() const {
        const int given = (request_.from ? 1 : 0) + (request_.digest ? 1 : 0) + (request_.commit ? 1 : 0);
        if (given > 1)
            throw Error(ErrorKind::invalid_argument,
                        "options \"from\", \"digest\" and \"commit\": one version can be compared with only");
    }

    Side older() const {
        if (request_.from) return side_of(StoredImage::find(repository_, *request_.from));
        if (request_.commit) return commit_side(*request_.commit);
        if (request_.update && !request_.digest) return side_of(current_);
        return side_of(choose_kept_version(repository_, request_.image, request_.digest, current_.digest).image);
    }

    // Every merge commit that an image or a kept version has.
    std::vector<Checksum> merge_commits() const {
        std::vector<Checksum> commits;
        for (const auto* const prefix : {image_ref_directory, kept_ref_directory})
            for (const auto& [ref, commit] : whole(repository_.refs(prefix))) commits.push_back(commit);
        return commits;
    }

    // The image of MERGE; nullopt for one that cannot be read, which is another's concern.
    std::optional<StoredImage> readable(const Checksum& merge) const {
        try {
            return StoredImage::load(repository_, merge, true);
        } catch (const Error&) {
            return std::nullopt;
        }
    }

    // Commits of other programs are not shown to everybody.
    Side commit_side(const std::string& text) const {
        const auto checksum = Checksum::from_hex(text);
        if (!checksum) throw Error(ErrorKind::invalid_argument, "option \"commit\": '" + text + "' is no checksum");
        for (const auto& merge : merge_commits()) {
            const auto image = readable(merge);
            if (image && (merge == *checksum || image->deployable() == *checksum)) return side_of(*image);
        }
        for (const auto* const prefix : deployment_refs) {
            for (const auto& [ref, deployed] : repository_.refs(prefix)) {
                if (deployed != *checksum) continue;
                const auto commit = repository_.load_commit(*checksum);
                return {{commit.text(manifest_digest_key), commit.text(version_key), checksum->hex()}, commit.tree};
            }
        }
        throw Error(ErrorKind::not_found,
                    "commit " + text + " belongs to no image, kept version or deployment in the repository");
    }

    // The update, if the repository has its tree: under another name, as a kept version, or because it consists of
    // the same layers. Otherwise says why not.
    std::optional<Side> update() {
        const auto name = request_.image.image();
        const auto update = PendingUpdate::load(repository_, current_.merge_commit, name);
        if (!update) throw Error(ErrorKind::not_found, "no update of " + name + " is known; Check looks for one");
        const auto manifest = Manifest::parse(update->manifest_text);
        return known_update(update->digest, manifest, ImageConfig::parse(update->config_text));
    }

    std::optional<Side> known_update(const Digest& digest, const Manifest& manifest, const ImageConfig& config) {
        changes_.to = {digest.text(), config.version(), {}};
        const auto same_layers = [&](const StoredImage& image) {
            return std::equal(image.manifest.layers.begin(), image.manifest.layers.end(), manifest.layers.begin(),
                              manifest.layers.end(),
                              [](const auto& one, const auto& other) { return one.digest == other.digest; });
        };
        if (same_layers(current_)) return Side{changes_.to, current_.tree};
        for (const auto& merge : merge_commits()) {
            const auto image = readable(merge);
            if (image && image->digest == digest) return Side{side_of(*image).named, image->tree};
        }
        changes_.unknown = missing_layers(ImageLayout::of(manifest, config));
        take_kernel(config);
        return std::nullopt;
    }

    // What the image says of itself; the only thing that is known without its tree.
    void take_kernel(const ImageConfig& config) {
        const auto label = config.labels.find(kernel_label);
        if (label == config.labels.end() || label->second.empty()) return;
        const auto before = read_contents(repository_, current_.tree, cancellation_).kernels;
        compare_kernels(before, {label->second});
    }

    // The package databases of UPDATE, without its layers.
    void look_at_source(const FoundUpdate& update) {
        try {
            const auto tree =
                make_update_tree(repository_, update.image.layout, update.present, update.layers, cancellation_);
            const auto after = read_contents(*tree, cancellation_);
            compare_contents(read_contents(repository_, current_.tree, cancellation_), after);
            changes_.unknown.reset();
            changes_.etc_unknown = true;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled || error.kind() == ErrorKind::repository_damaged) throw;
            changes_.unknown = changes_.unknown.value_or("known after the pull") + "; " + error.what();
        }
    }

    std::string missing_layers(const ImageLayout& layout) const {
        std::size_t missing = 0;
        std::uint64_t bytes = 0;
        for (const auto& layer : layout.layers) {
            if (layer_target(repository_, layer).exists) continue;
            ++missing;
            bytes += layer.blob.size;
        }
        return "known after the pull: " + std::to_string(missing) + " of its " + std::to_string(layout.layers.size()) +
               " layers (" + std::to_string(bytes) + " bytes) are not in the repository";
    }

    void compare(const Checksum& from, const Side& to) {
        changes_.to = to.named;
        const auto before = read_contents(repository_, from, cancellation_);
        const auto after = read_contents(repository_, to.tree, cancellation_);
        compare_contents(before, after);
        cancellation_.check();
        changes_.etc = compare_files(repository_, "/etc", before.etc, after.etc);
    }

    void compare_kernels(const std::set<std::string>& before, const std::set<std::string>& after) {
        const auto only_in = [](const std::set<std::string>& one, const std::set<std::string>& other) {
            std::vector<std::string> only;
            std::set_difference(one.begin(), one.end(), other.begin(), other.end(), std::back_inserter(only));
            return only;
        };
        changes_.kernels_added = only_in(after, before);
        changes_.kernels_removed = only_in(before, after);
    }

    void compare_contents(const TreeContents& before, const TreeContents& after) {
        compare_kernels(before.kernels, after.kernels);
        changes_.packages_from = before.packages.size();
        changes_.packages_to = after.packages.size();
        changes_.packages = compare_packages(before.packages, after.packages);
        for (const auto* const unread : {&before.unread, &after.unread})
            for (const auto& database : *unread) leave_out(database.format);
        changes_.unread_from = before.unread;
        changes_.unread_to = after.unread;
    }

    void leave_out(PackageFormat format) {
        for (auto* const list : {&changes_.packages.changed, &changes_.packages.added, &changes_.packages.removed})
            std::erase_if(*list, [&](const auto& change) { return change.format == format; });
    }

    const Repository& repository_;
    const ChangesRequest& request_;
    const Cancellation& cancellation_;
    const StoredImage current_;
    ImageChanges changes_;
};

}  // namespace

ImageChanges find_update_changes(const std::string& repository, const ImageReference& stored, const FoundUpdate& update,
                                 const Cancellation& cancellation) {
    const auto opened = Repository::open_existing(repository);
    if (!opened) throw no_such_image(stored);
    const ChangesRequest request{.repository = repository, .image = stored, .update = true};
    return ChangesSearch(*opened, request, cancellation).run(update);
}

ImageChanges find_changes(const ChangesRequest& request, const Cancellation& cancellation) {
    const auto repository = Repository::open_existing(request.repository);
    if (!repository) throw no_such_image(request.image);
    return ChangesSearch(*repository, request, cancellation).run();
}

}  // namespace imaged
