// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/layer-import.hpp"

#include <array>

#include "base/error.hpp"
#include "layer/byte-source.hpp"
#include "layer/dirtree.hpp"
#include "layer/object-layer.hpp"
#include "layer/tar-reader.hpp"
#include "store/fetch/content-search.hpp"
#include "store/fetch/early-files.hpp"
#include "store/records/layer-record.hpp"

namespace imaged {

namespace {

Checksum put_commit(ObjectSink& sink, VariantPtr metadata, const Checksum& tree, const Checksum& meta) {
    CommitContent commit;
    commit.metadata = std::move(metadata);
    commit.tree = tree;
    commit.meta = meta;
    return sink.put_metadata(ObjectType::commit, serialise_commit(commit));
}

// A chunk layer has files and no tree of its own: its commit is a flat directory in which every file is named by its
// checksum.
Checksum put_chunk_commit(ObjectSink& sink, const std::vector<Checksum>& files) {
    DirectoryListing listing;
    for (const auto& file : files) listing.files.push_back({file.hex(), file});
    const auto tree = sink.put_metadata(ObjectType::dirtree, serialise_dirtree(listing));
    const auto meta =
        sink.put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, implicit_directory_mode, nullptr}));
    return put_commit(sink, nullptr, tree, meta);
}

void read_tar(TarReader& tar, const ImageLayer& layer, const DerivedLayerRules& rules, StagedLayer& staged,
              EarlyFiles* early) {
    SinkOfFile sink_of_file;
    if (early != nullptr) {
        // Smaller ones of a derived layer would not be found again.
        const auto least = layer.kind == LayerKind::derived ? ObjectSizes::least_bytes : 0;
        sink_of_file = [early, least, &staged](std::uint64_t size) -> ObjectSink& {
            return size < least ? *staged.sink : early->sink_of(size);
        };
    }
    const auto finish_early = [&] {
        if (early == nullptr) return;
        early->finish();
        staged.early = early->counts();
    };
    if (layer.kind == LayerKind::derived) {
        auto derived = read_derived_layer(tar, *staged.sink, rules, sink_of_file);
        finish_early();
        staged.commit = put_commit(*staged.sink, layer_metadata(derived, rules, layer.diff_id), derived.root.tree,
                                   derived.root.meta);
        return;
    }
    const auto objects = read_object_layer(tar, *staged.sink, layer.kind == LayerKind::commit, sink_of_file);
    finish_early();
    if (layer.kind == LayerKind::commit) {
        staged.commit = *objects.commit;
        staged.foreign_commit = true;
        staged.detached_metadata = objects.commit_metadata;
    } else {
        staged.commit = put_chunk_commit(*staged.sink, objects.files);
    }
}

// SINK has files hashed beside the stream, for as long as there is one.
class HashedBeside {
public:
    HashedBeside(ObjectSink& sink, LayerStream& stream) : sink_(sink) { sink_.hash_beside(stream.backlog()); }
    ~HashedBeside() { sink_.hash_beside(nullptr); }
    HashedBeside& operator=(HashedBeside&&) = delete;

private:
    ObjectSink& sink_;
};

}  // namespace

void drain(DescriptorSource& source) {
    source.resume();
    std::array<std::byte, 65536> buffer;
    while (source.read(buffer) > 0) {
    }
}

Checksum read_layer(LayerStream& stream, const LayerWork& work, StagedLayer& staged) {
    const HashedBeside hashed_beside(*staged.sink, stream);
    TarReader tar(stream, &work.limit);
    const auto& early = work.hooks.early;
    std::optional<EarlyFiles> files;
    if (early.make_sink) files.emplace(early.make_sink, early.sync, stream.backlog());
    read_tar(tar, work.layer, work.rules, staged, files ? &*files : nullptr);
    return stream.finish();
}

void require_diff_id(const ImageLayer& layer, const Checksum& diff_id) {
    if (const Digest digest(diff_id); digest != layer.diff_id)
        throw Error(ErrorKind::digest_mismatch, "its uncompressed content has the digest " + digest.text() +
                                                    ", the config says " + layer.diff_id.text());
}

void read_blob(LayerSource& source, const Descriptor& descriptor, ExpansionLimit* limit,
               const std::function<void(std::size_t)>& progress, const std::function<void(StoppableSource&)>& read) {
    const auto blob = source.open(descriptor);
    const auto taken = [&](std::span<std::byte> bytes) {
        progress(bytes.size());
        const auto left = blob->take(bytes);
        if (limit != nullptr) limit->read(left);
        return left;
    };
    DescriptorSource compressed(blob->fd(), source.cancellation(),
                                {.stall_time = source.stall_time(),
                                 .taken = taken,
                                 .expected_bytes = descriptor.size,
                                 .complete = [&] { blob->request_verdict(); },
                                 .rate = source.rate()});
    try {
        read(compressed);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::corrupt_input && error.kind() != ErrorKind::unsupported_image) throw;
        // The blob may be another one: if the digest of all its bytes is wrong, report that instead.
        drain(compressed);
        blob->finish();
        throw;
    }
    blob->finish();
}

StagedLayer import_layer(const LayerWork& work) {
    StagedLayer staged;
    staged.sink = work.hooks.make_sink();
    Checksum diff_id;
    read_blob(work.source, work.layer.blob, &work.limit, work.hooks.progress, [&](StoppableSource& compressed) {
        LayerStream stream(compressed, work.limit);
        diff_id = read_layer(stream, work, staged);
    });
    require_diff_id(work.layer, diff_id);
    return staged;
}

}  // namespace imaged
