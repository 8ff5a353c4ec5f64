// SPDX-License-Identifier: Apache-2.0
// Fetches the layers that are missing, several at once where the repository allows, and hands each to the publisher
// when it is verified.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/staging-area.hpp"
#include "layer/writer-pool.hpp"
#include "source/layer-source.hpp"
#include "store/fetch/chunked-import.hpp"
#include "store/fetch/delta-search.hpp"
#include "store/fetch/layer-import.hpp"
#include "store/repository/import-observer.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct FetchItem {
    std::size_t index;        // in the manifest
    const ImageLayer* layer;  // borrowed
};

struct FetchCounts {
    unsigned layers = 0;
    std::uint64_t compressed_bytes = 0;  // fetched
    // Layers of which only a part was fetched, and the compressed size of the rest.
    unsigned partial_layers = 0;
    std::uint64_t spared_bytes = 0;
    std::vector<std::string> fetched_whole;  // why parts of a layer that has them, or its delta, did not do
    unsigned delta_layers = 0;               // made by a delta
    std::uint64_t delta_bytes = 0;           // fetched of it
    SinkCounts objects;
};

// Bytes that a pull fetches of LAYERS, each of which is missing and another, without a delta: of zstd:chunked layers
// what the repository lacks, TREE being the root of the stored version's merged tree, and all of a layer whose tables
// cannot be read. Fetches these tables. Throws Error(cancelled).
std::uint64_t bytes_to_fetch(LayerSource& source, const Repository& repository,
                             const std::vector<const ImageLayer*>& layers, const std::optional<Checksum>& tree,
                             const ExpansionLimits& expansion);

class LayerFetch {
public:
    // Borrows everything. A failing layer requests CANCELLATION, which ends the others. LANES layers are fetched at
    // once, where the repository allows.
    LayerFetch(LayerSource& source, Repository& repository, StagingArea& staging, Cancellation& cancellation,
               ImportObserver& observer, unsigned layers_at_once, const ExpansionLimits& expansion);

    // Fetches ITEMS in their order; a commit layer becomes visible after all the others. Returns the commit of each
    // layer; all of them have their refs then. Throws the first failure, naming the layer.
    std::map<Digest, Checksum> run(const std::vector<FetchItem>& items, const DerivedLayerRules& rules);

    // Lets zstd:chunked layers use objects of the repository instead of fetching them. Files of derived layers are
    // looked for in the merged tree TREE first, if there is one. Call before run().
    void reuse_files(const std::optional<Checksum>& tree, bool moved_var) {
        known_ = Known{tree, moved_var, LocalFiles::has_any(repository_.objects())};
    }
    // Makes layers with DELTA if that takes fewer bytes than the layers have; the source has its blobs. ONLY: makes all
    // layers with it, since the source has nothing else. Call before run().
    void use_delta(UsableDelta delta, bool only) {
        delta_ = std::move(delta);
        only_delta_ = only;
    }
    // A commit layer must hold this commit, whose signature was verified; without one any will do. Before run().
    void require_commit(const std::optional<Checksum>& commit) { required_commit_ = commit; }

    const FetchCounts& counts() const { return counts_; }
    WriterPool& pool() { return pool_; }

private:
    // Object writers beside the threads that fetch layers.
    static constexpr unsigned writers = 2;

    LayerSource& source_;
    Repository& repository_;
    StagingArea& staging_;
    Cancellation& cancellation_;
    ImportObserver& observer_;
    const unsigned layers_at_once_;
    const ExpansionLimits expansion_;
    struct Known {
        std::optional<Checksum> tree;
        bool moved_var;
        bool objects;  // whether there are any
    };
    // Which objects to look at before they are taken for files of a layer.
    struct Doubts {
        const LocalFiles* files = nullptr;  // those that these doubt
        bool all = false;
    };
    // Whether to try fetch_part(). If not, but another repository, layer or source could have, that is reported.
    // IN_PART: no other content is known of the blob.
    bool may_come_in_part(const ImageLayer& layer, bool in_part);
    // Fetches what the repository lacks. Returns nullopt if the whole layer is still to be fetched.
    std::optional<StagedLayer> fetch_part(const LayerWork& work, Doubts& doubts);
    // Throws Error(repository_damaged) unless the file OBJECT has the content and metadata that its name says.
    void require_sound(const Checksum& object);

    // The part of a delta that makes LAYER; null if it is to be fetched.
    const DeltaLayer* made_by_delta(const ImageLayer& layer, bool in_part) const;
    // Returns nullopt if the delta does not make it.
    std::optional<StagedLayer> make_layer(const LayerWork& work, const DeltaLayer& made, Doubts& doubts);
    // What FETCH returns, unless it fails in a way in which the whole layer may do. DOUBTS become more if files of the
    // repository may be the cause. BY_PARTS: it reads parts of the layer's blob.
    std::optional<StagedLayer> unless_refused(const LayerWork& work, Doubts& doubts,
                                              const std::function<std::optional<StagedLayer>()>& fetch,
                                              bool by_parts = false);

    void note_whole(const ImageLayer& layer, const std::string& why);

    std::optional<UsableDelta> delta_;
    bool only_delta_ = false;
    std::optional<Checksum> required_commit_;
    std::optional<Known> known_;
    std::once_flag sizes_once_;
    std::optional<ObjectSizes> sizes_;
    std::mutex mutex_;  // of what follows, and of making sinks
    WriterPool pool_{writers};
    FetchCounts counts_;
    bool gave_parts_ = false;                      // SOURCE did, for some layer
    std::map<std::string, unsigned> whole_alike_;  // layers that are fetched as a whole, by the reason
    std::atomic<bool> found_damage_ = false;
    std::atomic<std::uint64_t> image_bytes_ = 0, looked_at_bytes_ = 0;  // unpacked; of local files
};

}  // namespace imaged
