// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/layer-fetch.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/task-group.hpp"
#include "layer/staged-objects.hpp"
#include "store/fetch/delta-import.hpp"
#include "store/fetch/layer-publisher.hpp"
#include "store/files/moved-var.hpp"
#include "store/objects/object-check.hpp"
#include "store/records/layer-ref.hpp"

namespace imaged {

namespace {

// What bytes_to_fetch() reads of tables, and how many layers at once: it should not take long.
constexpr std::uint64_t max_looked_up_table_bytes = 32 * 1024 * 1024;
constexpr unsigned looked_up_at_once = 4;

}  // namespace

std::uint64_t bytes_to_fetch(LayerSource& source, const Repository& repository,
                             const std::vector<const ImageLayer*>& layers, const std::optional<Checksum>& tree,
                             const ExpansionLimits& expansion) {
    std::uint64_t table_bytes = 0;
    std::atomic<std::uint64_t> bytes = 0, looked_at_bytes = 0;
    std::vector<const ImageLayer*> in_part;
    const bool has_files = repository.file_suffix() == ".file" && LocalFiles::has_any(repository.objects());
    for (const auto* const layer : layers) {
        const auto table = chunked_table_bytes(layer->blob);
        if (has_files && table && layer->blob.size >= least_chunked_bytes && !layer_target(repository, *layer).exists &&
            *table <= max_looked_up_table_bytes - table_bytes && source.gives_parts()) {
            table_bytes += *table;
            in_part.push_back(layer);
        } else {
            bytes += layer->blob.size;
        }
    }
    std::once_flag sizes_once;
    std::optional<ObjectSizes> sizes;
    run_in_threads(looked_up_at_once, in_part.size(), [&](std::size_t number) {
        const auto& layer = *in_part[number];
        const auto& cancellation = source.cancellation();
        LocalFiles files(repository.objects(), tree, moves_var(), cancellation);
        files.look_for_files(
            [&]() -> const ObjectSizes& {
                std::call_once(sizes_once, [&] { sizes.emplace(repository.objects(), cancellation); });
                return *sizes;
            },
            layer.kind == LayerKind::derived);
        ExpansionLimit looked_at(expansion, looked_at_bytes, {});
        try {
            bytes += chunked_layer_bytes(source, layer.blob, files, looked_at);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            bytes += layer.blob.size;
        }
    });
    return bytes;
}

LayerFetch::LayerFetch(LayerSource& source, Repository& repository, StagingArea& staging, Cancellation& cancellation,
                       ImportObserver& observer, unsigned layers_at_once, const ExpansionLimits& expansion)
    : source_(source),
      repository_(repository),
      staging_(staging),
      cancellation_(cancellation),
      observer_(observer),
      layers_at_once_(repository.layers_at_once(layers_at_once)),
      expansion_(expansion) {}

std::map<Digest, Checksum> LayerFetch::run(const std::vector<FetchItem>& items, const DerivedLayerRules& rules) {
    std::map<Digest, Checksum> commits;
    if (items.empty()) return commits;
    LayerPublisher publisher(repository_, [&](const StagedLayer& staged, std::size_t layer) {
        (counts_.objects += staged.sink->counts()) += staged.early;
        observer_.finished(layer);
    });
    std::optional<LayerPublisher::Item> commit_layer;
    // If the ref of a blob names another content, only the whole blob shows which of the two it has.
    std::set<std::size_t> in_part;
    for (const auto& item : items) {
        if (!layer_target(repository_, *item.layer).exists) in_part.insert(item.index);
    }
    const auto make_sink = [&] {
        const std::lock_guard lock(mutex_);
        return repository_.make_sink(staging_, pool_);
    };
    const bool sinks_beside = repository_.layers_at_once(2) > 1;
    // Only of zstd:chunked layers can the next job fetch what is missing alone.
    const auto early_of = [&](const FetchItem& item) {
        EarlyPublishing early;
        if (in_part.contains(item.index) && known_ && sinks_beside && !item.layer->blob.chunked.empty() &&
            source_.gives_parts())
            early = {make_sink, [&] { repository_.sync(); }};
        return early;
    };
    const auto fetch = [&](const FetchItem& item, std::atomic<std::uint64_t>& bytes) {
        repository_.require_space(item.layer->blob.size);
        const auto progress = [&](std::size_t count) {
            bytes += count;
            observer_.fetched(item.index, count);
        };
        std::optional<StagedLayer> staged;
        std::uint64_t in_vain = 0;
        const auto expect = [&](std::uint64_t count) { observer_.expected(item.index, in_vain + count); };
        // What was found to have another content than it should, or any object once local files made a wrong layer, is
        // not taken for a file of the layer without a look.
        const auto doubts = std::make_shared<Doubts>();
        const auto make_checked_sink = [this, &make_sink, doubts] {
            auto sink = make_sink();
            sink->check_present([this, doubts](const Checksum& object) {
                if (doubts->all || (doubts->files != nullptr && doubts->files->is_doubtful(object)))
                    require_sound(object);
            });
            return sink;
        };
        auto early = early_of(item);
        if (early.make_sink) early.make_sink = make_checked_sink;
        const auto little_saved = [&] { note_whole(*item.layer, "little of it would be saved"); };
        const LayerHooks hooks{make_checked_sink, progress, early, expect, little_saved};
        ExpansionLimit limit(expansion_, image_bytes_, [&] { repository_.require_space(0); });
        const LayerWork work{source_, *item.layer, rules, limit, hooks};
        const bool may_be_part = in_part.contains(item.index);
        if (const auto* const made = made_by_delta(*item.layer, may_be_part)) {
            staged = make_layer(work, *made, *doubts);
            in_vain = bytes;
        }
        if (!staged && only_delta_)
            throw Error(ErrorKind::corrupt_input,
                        "the delta does not make the layer, and the source does not contain its blob");
        if (!staged && may_come_in_part(*item.layer, may_be_part)) {
            staged = fetch_part(work, *doubts);
            in_vain = bytes;
        }
        if (!staged && in_vain > 0) expect(item.layer->blob.size);
        if (!staged) staged = import_layer(work);
        if (item.layer->kind == LayerKind::commit && required_commit_ && staged->commit != *required_commit_)
            throw Error(ErrorKind::policy_rejected, "the layer contains the commit " + staged->commit.hex() +
                                                        ", not the one whose signature was verified");
        return *std::move(staged);
    };
    const auto take = [&](std::size_t number) {
        const auto& item = items[number];
        std::atomic<std::uint64_t> bytes = 0;
        auto staged = in_context("layer " + item.layer->blob.digest.text(), [&] { return fetch(item, bytes); });
        const std::lock_guard lock(mutex_);
        ++counts_.layers;
        counts_.compressed_bytes += bytes;
        if (staged.by_delta) {
            ++counts_.delta_layers;
            counts_.delta_bytes += bytes;
        } else if (staged.partial) {
            ++counts_.partial_layers;
        }
        if (staged.partial) {
            counts_.spared_bytes += item.layer->blob.size - std::min<std::uint64_t>(bytes, item.layer->blob.size);
        }
        commits.emplace(item.layer->blob.digest, staged.commit);
        LayerPublisher::Item published{std::move(staged), *item.layer, item.index};
        if (item.layer->kind == LayerKind::commit) {
            commit_layer = std::move(published);
        } else {
            publisher.add(std::move(published));
            // libostree has one transaction at a time: the next layer's can begin when this one's has ended.
            if (layers_at_once_ == 1) publisher.wait();
        }
    };
    run_in_threads(layers_at_once_, items.size(), take, [&] { cancellation_.request(); });
    publisher.wait();
    if (commit_layer) {
        publisher.add(std::move(*commit_layer));
        publisher.wait();
    }
    for (const auto& [why, count] : whole_alike_)
        counts_.fetched_whole.push_back(std::to_string(count) + (count == 1 ? " layer: " : " layers: ") + why);
    whole_alike_.clear();
    return commits;
}

bool LayerFetch::may_come_in_part(const ImageLayer& layer, bool in_part) {
    if (!known_ || !known_->objects || layer.blob.chunked.empty()) return false;
    const bool gives_parts = source_.gives_parts();
    const std::lock_guard lock(mutex_);
    gave_parts_ |= gives_parts;
    // Of a source that never gives any nothing could be fetched in part.
    if (!gave_parts_) return false;
    const auto* const why = repository_.file_suffix() != ".file" ? "the mode of the repository keeps files compressed"
                            : layer.blob.size < least_chunked_bytes ? "smaller than 1 MiB"
                            : !gives_parts                          ? "the source gives no parts of layers"
                            : !in_part ? "another image says that the blob has another content"
                                       : nullptr;
    if (why != nullptr) ++whole_alike_[why];
    return why == nullptr;
}

std::optional<StagedLayer> LayerFetch::fetch_part(const LayerWork& work, Doubts& doubts) {
    LocalFiles files(repository_.objects(), known_->tree, known_->moved_var, cancellation_);
    files.look_for_files(
        [this]() -> const ObjectSizes& {
            std::call_once(sizes_once_, [this] { sizes_.emplace(repository_.objects(), cancellation_); });
            return *sizes_;
        },
        work.layer.kind == LayerKind::derived);
    ExpansionLimit looked_at(expansion_, looked_at_bytes_, {});
    doubts.files = &files;
    auto staged = unless_refused(
        work, doubts, [&] { return import_chunked_layer(work, files, looked_at); }, true);
    doubts.files = nullptr;
    return staged;
}

void LayerFetch::require_sound(const Checksum& object) {
    const auto file = try_open_file(repository_.objects(), object_path(object, ObjectType::file));
    ContentSize size;
    if (file && !ObjectCheck(repository_, cancellation_).fault_of(file.get(), object, size)) return;
    found_damage_ = true;
    throw Error(ErrorKind::repository_damaged, "the object " + object.hex() +
                                                   ".file of the repository is damaged, and the image needs it; "
                                                   "verify with repair replaces it");
}

const DeltaLayer* LayerFetch::made_by_delta(const ImageLayer& layer, bool in_part) const {
    if (!delta_) return nullptr;
    const auto found = delta_->artifact.made.find(layer.blob.digest);
    if (found == delta_->artifact.made.end()) return nullptr;
    const auto& blob = found->second.blob;
    if (blob.digest == layer.blob.digest) return only_delta_ ? &found->second : nullptr;
    return in_part && (only_delta_ || blob.size < layer.blob.size) ? &found->second : nullptr;
}

std::optional<StagedLayer> LayerFetch::make_layer(const LayerWork& work, const DeltaLayer& made, Doubts& doubts) {
    LocalFiles files(repository_.objects(), delta_->source_tree, moves_var(), cancellation_);
    const auto make = [&] { return import_delta_layer(work, made, files); };
    if (only_delta_) return make();
    return unless_refused(work, doubts, make);
}

std::optional<StagedLayer> LayerFetch::unless_refused(const LayerWork& work, Doubts& doubts,
                                                      const std::function<std::optional<StagedLayer>()>& fetch,
                                                      bool by_parts) {
    try {
        return fetch();
    } catch (const Error& error) {
        work.limit.forget();
        if (error.kind() == ErrorKind::cancelled || error.kind() == ErrorKind::no_space || found_damage_) throw;
        // It is away, and will give parts again: the whole layer would not come now, and later it would be a waste.
        if (by_parts && error.kind() == ErrorKind::source_unreachable && source_.gives_parts()) throw;
        note_whole(work.layer, error.what());
        // Perhaps for a damaged file of the repository.
        doubts.all |= error.kind() == ErrorKind::digest_mismatch || error.kind() == ErrorKind::corrupt_input;
        return std::nullopt;
    }
}

void LayerFetch::note_whole(const ImageLayer& layer, const std::string& why) {
    const std::lock_guard lock(mutex_);
    counts_.fetched_whole.push_back("layer " + layer.blob.digest.text() + ": " + why);
}

}  // namespace imaged
