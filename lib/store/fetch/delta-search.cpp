// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/delta-search.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

namespace {

// Below this the layers are here sooner than an answer about deltas.
constexpr std::uint64_t least_missing_bytes = 256 * 1024;
// Artifacts that are read of all that a source offers.
constexpr std::size_t max_looked_at = 8;
const std::string list_of_deltas = "the list of deltas: ";

// What an update takes with ARTIFACT; nullopt if that is not less than without it.
std::optional<std::uint64_t> bytes_with(const DeltaArtifact& artifact, const SourceImage& image,
                                        const ImportPlan& plan) {
    std::uint64_t with = 0, without = 0;
    std::set<Digest> counted;
    for (std::size_t i = 0; i < plan.present.size(); ++i) {
        const auto& blob = image.layout.layers[i].blob;
        if (plan.present[i] || !counted.insert(blob.digest).second) continue;
        const auto made = artifact.made.find(blob.digest);
        without += blob.size;
        with += made == artifact.made.end() ? blob.size : std::min(blob.size, made->second.blob.size);
    }
    return with < without ? std::optional(with) : std::nullopt;
}

class DeltaSearch {
public:
    DeltaSearch(ImageReader& reader, const Repository& repository, const SourceImage& image, const ImportPlan& plan,
                std::vector<std::string>& refused)
        : reader_(reader), repository_(repository), image_(image), plan_(plan), refused_(refused) {}

    std::optional<UsableDelta> run(const Cancellation& cancellation) {
        const auto index = reader_.referrers(image_.digest);
        if (!index) return std::nullopt;
        auto [listed, problem] = listed_deltas(*index);
        if (problem) refused_.push_back(list_of_deltas + *problem);
        std::erase_if(listed, [&](const auto& entry) { return entry.source_config && !tree_of(*entry.source_config); });
        const auto may_fit = listed.size();
        if (may_fit > max_looked_at) listed.erase(listed.begin() + max_looked_at, listed.end());
        std::optional<UsableDelta> best;
        auto least = UINT64_MAX;
        for (const auto& entry : listed) {
            cancellation.check();
            auto usable = look_at(entry);
            const auto bytes = usable ? bytes_with(usable->artifact, image_, plan_) : std::nullopt;
            if (!bytes || *bytes >= least) continue;
            least = *bytes;
            best = std::move(usable);
        }
        if (!best && may_fit > max_looked_at)
            refused_.push_back(list_of_deltas + "only " + std::to_string(max_looked_at) + " of " +
                               std::to_string(may_fit) + " that may fit were read");
        return best;
    }

private:
    std::optional<UsableDelta> look_at(const ListedDelta& entry) {
        try {
            auto artifact = DeltaArtifact::parse(reader_.artifact_manifest(entry.artifact));
            if (artifact.digest != entry.artifact.digest)
                throw Error(ErrorKind::digest_mismatch, "its manifest does not have this digest");
            if (artifact.manifest.digest != image_.digest)
                throw Error(ErrorKind::corrupt_input, "it makes the image " + artifact.manifest.digest.text());
            artifact.require_target(image_.manifest);
            const auto tree = tree_of(artifact.source_config);
            if (!tree) return std::nullopt;
            return UsableDelta{std::move(artifact), *tree};
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            refused_.push_back("delta " + entry.artifact.digest.text() + ": " + error.what());
            return std::nullopt;
        }
    }

    const std::optional<Checksum>& tree_of(const Digest& config) {
        auto found = trees_.find(config);
        if (found == trees_.end()) {
            const auto* const previous = plan_.previous ? &*plan_.previous : nullptr;
            found = trees_.emplace(config, tree_of_config(repository_, previous, config)).first;
        }
        return found->second;
    }

    ImageReader& reader_;
    const Repository& repository_;
    const SourceImage& image_;
    const ImportPlan& plan_;
    std::vector<std::string>& refused_;
    std::map<Digest, std::optional<Checksum>> trees_;
};

}  // namespace

std::optional<Checksum> tree_of_config(const Repository& repository, const StoredImage* previous,
                                       const Digest& source_config) {
    if (previous != nullptr && previous->manifest.config.digest == source_config) return previous->tree;
    for (const auto& [ref, commit] : whole(repository.refs(image_ref_directory))) {
        try {
            const auto image = StoredImage::load(repository, commit);
            if (image.manifest.config.digest == source_config) return image.tree;
        } catch (const Error&) {
            // One that cannot be read starts no delta.
        }
    }
    return std::nullopt;
}

std::optional<UsableDelta> find_delta(ImageReader& reader, const Repository& repository, const SourceImage& image,
                                      const ImportPlan& plan, const Cancellation& cancellation,
                                      std::vector<std::string>& refused) {
    if (plan.missing_bytes < least_missing_bytes || !reader.has_referrers()) return std::nullopt;
    if (repository.refs(image_ref_directory).empty()) return std::nullopt;
    try {
        return DeltaSearch(reader, repository, image, plan, refused).run(cancellation);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        refused.push_back(list_of_deltas + error.what());
        return std::nullopt;
    }
}

}  // namespace imaged
