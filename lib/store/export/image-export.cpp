// SPDX-License-Identifier: Apache-2.0
#include "store/export/image-export.hpp"

#include <sys/stat.h>

#include "base/error.hpp"
#include "base/task-group.hpp"
#include "chunked/chunked-writer.hpp"
#include "oci/export-destination.hpp"
#include "source/proxy/skopeo-push.hpp"
#include "store/export/derived-layer-export.hpp"
#include "store/export/export-layout.hpp"
#include "store/export/exported-documents.hpp"
#include "store/export/object-layer-export.hpp"
#include "store/records/layer-ref.hpp"

namespace imaged {

namespace {

// Compressing takes most of the time: one layer a core of a small machine.
constexpr unsigned layers_at_once = 2;
// What the image is called in a layout that nobody else sees.
constexpr const char* private_tag = "exported";

// A layer's uncompressed bytes on their way to the compressor.
class HashingSink : public ByteSink {
public:
    explicit HashingSink(ByteSink& sink) : sink_(sink) {}
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override {
        hash_.update(bytes);
        sink_.write(bytes);
    }
    Digest finish() { return Digest(hash_.finish()); }

private:
    ByteSink& sink_;
    Sha256 hash_;
};

// Small writes, as headers are, become large ones.
class BufferedSink : public ByteSink {
public:
    explicit BufferedSink(ByteSink& sink) : sink_(sink) { buffer_.reserve(capacity); }
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override {
        if (buffer_.size() + bytes.size() > capacity) flush();
        if (bytes.size() >= capacity) {
            sink_.write(bytes);
        } else {
            buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
        }
    }
    void flush() {
        if (!buffer_.empty()) sink_.write(std::span<const std::byte>(buffer_));
        buffer_.clear();
    }

private:
    static constexpr std::size_t capacity = 128 * 1024;
    ByteSink& sink_;
    std::vector<std::byte> buffer_;
};

class ImageExport {
public:
    ImageExport(const ExportRequest& request, const Repository& repository, Cancellation& cancellation,
                ImportObserver& observer)
        : request_(request),
          repository_(repository),
          cancellation_(cancellation),
          observer_(observer),
          image_(StoredImage::find(repository, request.image)),
          commits_(layer_commits(repository, image_.layout)) {
        if (!image_.layout.ostree) return;
        std::vector<Checksum> chunks;
        for (std::size_t i = 0; i < commits_.size(); ++i) {
            if (image_.layout.layers[i].kind == LayerKind::chunk) chunks.push_back(commits_[i]);
        }
        objects_.emplace(repository, cancellation, commits_.front(), chunks);
    }

    // Everything but the name; returns the manifest's descriptor.
    Descriptor write(ExportLayout& layout) {
        const auto layers = write_layers(layout);
        observer_.phase(ImportPhase::commit);
        exported_.layers = static_cast<unsigned>(layers.size());
        for (std::size_t i = 0; i < layers.size(); ++i) {
            if (layers[i].diff_id == image_.layout.layers[i].diff_id) ++exported_.layers_kept;
            exported_.bytes_written += layers[i].blob.size;
        }
        const auto config = layout.put(exported_config(image_, layers));
        auto manifest = layout.put(exported_manifest(image_, config, layers, request_.compression));
        exported_.digest = manifest.digest;
        return manifest;
    }

    ExportedImage& exported() { return exported_; }

private:
    std::vector<ExportedLayer> write_layers(ExportLayout& layout) {
        const auto& layers = image_.layout.layers;
        observer_.layers(layers, std::vector<bool>(layers.size(), false));
        observer_.phase(ImportPhase::write);
        std::vector<std::optional<ExportedLayer>> written(layers.size());
        const auto write = [&](std::size_t i) {
            in_context("layer " + layers[i].blob.digest.text(), [&] {
                cancellation_.check();
                written[i] = write_layer(layout, layers[i].kind, commits_[i]);
            });
            observer_.fetched(i, layers[i].blob.size);
            observer_.finished(i);
        };
        run_in_threads(layers_at_once, layers.size(), write, [&] { cancellation_.request(); });
        std::vector<ExportedLayer> result;
        result.reserve(written.size());
        for (auto& layer : written) result.push_back(std::move(*layer));
        return result;
    }

    ExportedLayer write_layer(ExportLayout& layout, LayerKind kind, const Checksum& commit) const {
        ExportLayout::Blob blob(layout);
        if (request_.chunked) return write_chunked_layer(blob, kind, commit);
        const auto compressor = compress(request_.compression, blob);
        HashingSink hashing(*compressor);
        BufferedSink sink(hashing);
        write_tar(kind, commit, sink);
        sink.flush();
        compressor->finish();
        auto diff_id = hashing.finish();
        return {blob.finish(), std::move(diff_id)};
    }

    ExportedLayer write_chunked_layer(ExportLayout::Blob& blob, LayerKind kind, const Checksum& commit) const {
        BufferedSink sink(blob);
        ChunkedWriter chunked(sink);
        HashingSink hashing(chunked);
        write_tar(kind, commit, hashing, [&](const TarItem& item) { chunked.entry(item); });
        auto annotations = chunked.finish();
        sink.flush();
        auto diff_id = hashing.finish();
        auto written = blob.finish();
        written.chunked = std::move(annotations);
        return {std::move(written), std::move(diff_id)};
    }

    void write_tar(LayerKind kind, const Checksum& commit, ByteSink& sink, const TarEntryHook& entry = {}) const {
        switch (kind) {
            case LayerKind::commit: return objects_->write_commit(sink, entry);
            case LayerKind::chunk: return objects_->write_chunk(commit, sink, entry);
            case LayerKind::derived:
                return write_derived_layer(repository_, cancellation_, {.commit = commit, .image_tree = image_.tree},
                                           sink, entry);
        }
    }

    const ExportRequest& request_;
    const Repository& repository_;
    Cancellation& cancellation_;
    ImportObserver& observer_;
    const StoredImage image_;
    const std::vector<Checksum> commits_;
    ExportedImage exported_{image_.digest, image_.digest};
    std::optional<ObjectLayerExport> objects_;
};

}  // namespace

ExportedImage export_image(const ExportRequest& request, Cancellation& cancellation, ImportObserver& observer) {
    observer.phase(ImportPhase::manifest);
    check_export_destination(request.destination);
    auto existing = Repository::open_existing(request.repository);
    if (!existing) throw no_such_image(request.image);
    auto& repository = *existing;
    repository.write_through(request.writer);
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    repository.writer().clear_leftovers();
    ImageExport work(request, repository, cancellation, observer);
    if (request.destination.transport() == Transport::oci) {
        const auto [path, tag] = split_tag(request.destination.name());
        ExportLayout layout(path);
        const auto manifest = work.write(layout);
        cancellation.check();
        layout.publish(manifest, tag);
        return work.exported();
    }
    const auto staging = repository.make_staging();
    const auto scratch = staging->make_scratch();
    // By descriptor: where the repository lies may change, and its path may have a colon.
    const auto path = path_of_descriptor(scratch->fd());
    ExportLayout layout(path);
    const auto manifest = work.write(layout);
    cancellation.check();
    if (request.destination.transport() == Transport::registry) {
        layout.publish(manifest, private_tag);
        observer.phase(ImportPhase::push);
        // skopeo may run as another user; nobody else gets as far as here.
        if (::chmod(path.c_str(), 0755) != 0) throw_errno("open the layout for skopeo");
        push_layout(scratch->fd(), private_tag, manifest.digest, request.destination, cancellation, request.proxy);
    } else {
        const auto [archive, tag] = split_tag(request.destination.name());
        layout.publish(manifest, tag);
        write_layout_archive(path, layout.blobs(), archive, cancellation);
    }
    return work.exported();
}

}  // namespace imaged
