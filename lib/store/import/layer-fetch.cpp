// SPDX-License-Identifier: Apache-2.0
#include "store/import/layer-fetch.hpp"

#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "base/task-group.hpp"
#include "store/import/layer-publisher.hpp"

namespace imaged {

LayerFetch::LayerFetch(LayerSource& source, Repository& repository, StagingArea& staging, Cancellation& cancellation,
                       ImportObserver& observer, unsigned lanes, const ExpansionLimits& expansion)
    : source_(source),
      repository_(repository),
      staging_(staging),
      cancellation_(cancellation),
      observer_(observer),
      lanes_(repository.lanes(lanes)),
      expansion_(expansion) {}

std::map<Digest, Checksum> LayerFetch::run(const std::vector<FetchItem>& items, const DerivedLayerRules& rules) {
    std::map<Digest, Checksum> commits;
    if (items.empty()) return commits;
    LayerPublisher publisher(repository_, [&](const StagedLayer& staged, std::size_t layer) {
        const auto counts = staged.sink->counts();
        counts_.objects.objects_written += counts.objects_written;
        counts_.objects.objects_reused += counts.objects_reused;
        counts_.objects.bytes_written += counts.bytes_written;
        observer_.finished(layer);
    });
    std::mutex mutex;
    std::optional<LayerPublisher::Item> commit_layer;
    const auto fetch = [&](const FetchItem& item) {
        repository_.require_space(item.layer->blob.size);
        ExpansionLimit limit(expansion_, image_bytes_, [&] { repository_.require_space(0); });
        std::unique_ptr<ObjectSink> sink;
        {
            const std::lock_guard lock(mutex);
            sink = repository_.make_sink(staging_, pool_);
        }
        auto staged = import_layer(source_, *item.layer, rules, std::move(sink), limit,
                                   [&](std::size_t bytes) { observer_.fetched(item.index, bytes); });
        if (item.layer->kind == LayerKind::commit && required_commit_ && staged.commit != *required_commit_)
            throw Error(ErrorKind::policy_rejected,
                        "it holds the commit " + staged.commit.hex() + ", not the one whose signature was verified");
        return staged;
    };
    const auto take = [&](std::size_t number) {
        const auto& item = items[number];
        auto staged = in_context("layer " + item.layer->blob.digest.text(), [&] { return fetch(item); });
        const std::lock_guard lock(mutex);
        ++counts_.layers;
        counts_.compressed_bytes += staged.compressed_bytes;
        commits.emplace(item.layer->blob.digest, staged.commit);
        LayerPublisher::Item published{std::move(staged), *item.layer, item.index};
        if (item.layer->kind == LayerKind::commit) {
            commit_layer = std::move(published);
        } else {
            publisher.add(std::move(published));
            // libostree has one transaction at a time: the next layer's can begin when this one's has ended.
            if (lanes_ == 1) publisher.wait();
        }
    };
    run_in_threads(lanes_, items.size(), take, [&] { cancellation_.request(); });
    publisher.wait();
    if (commit_layer) {
        publisher.add(std::move(*commit_layer));
        publisher.wait();
    }
    return commits;
}

}  // namespace imaged
