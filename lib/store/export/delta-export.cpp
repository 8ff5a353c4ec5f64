// SPDX-License-Identifier: Apache-2.0
#include "store/export/delta-export.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/task-group.hpp"
#include "delta/delta-workers.hpp"
#include "delta/layer-diff.hpp"
#include "layer/layer-stream.hpp"
#include "oci/delta-artifact.hpp"
#include "oci/export-destination.hpp"
#include "source/archive/image-reader.hpp"
#include "source/proxy/skopeo-push.hpp"
#include "source/skopeo/ca-certificates.hpp"
#include "store/export/delta-documents.hpp"
#include "store/export/delta-sources.hpp"
#include "store/export/export-layout.hpp"
#include "store/fetch/layer-import.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/image-sources.hpp"

namespace imaged {

namespace {

// What the artifact and the index that lists it are called in a layout that nobody else sees.
constexpr const char* artifact_tag = "delta";
constexpr const char* list_tag = "referrers";
// Threads that compare and compress, for all layers together: a core each of a small machine.
constexpr unsigned delta_threads = 2;
// What they take in all.
constexpr std::uint64_t worker_memory = 112ULL * 1024 * 1024;
constexpr std::size_t copied_bytes = 64 * 1024;
constexpr std::uint64_t space_interval = 16ULL * 1024 * 1024;

// A layer's uncompressed tar in a nameless file.
struct SpooledLayer {
    FileDescriptor file;
    std::uint64_t size = 0;
};

// Where the target is read, and the version that its source has to serve.
struct DeltaTarget {
    ImageReference source;
    std::optional<Digest> pinned;
};

DeltaTarget find_target(const DeltaRequest& request, const Repository& repository) {
    const auto target = repository.resolve(image_ref(request.image));
    if (!target.exists) return {request.image, {}};
    const auto digest = StoredImage::load(repository, target.commit).digest;
    const auto source = image_source(repository.fd(), request.image.image());
    if (source == archive_source)
        throw Error(ErrorKind::invalid_argument,
                    request.image.image() +
                        " was imported from an archive, and a delta needs the bytes of its layers: "
                        "name the archive (oci-archive:FILE) or another source in its place");
    auto reference = ImageReference::parse(source).with_source_of(request.image);
    // Its tag may lead to a newer version now.
    if (reference.transport() == Transport::registry) reference = reference.with_digest(digest);
    return {std::move(reference), digest};
}

// OPTIONS for what is read from SOURCE: only registries are for the system's service.
ProxyOptions options_for(const ImageReference& source, ProxyOptions options) {
    options.registry.reset();
    if (source.transport() == Transport::registry)
        options.registry = registry_of(source.name());
    else
        options.service.reset();
    return options;
}

std::string type_or(const std::string& type, const char* otherwise) {
    return type.empty() ? otherwise : type;
}

// Of a layer that is put in as it is. Deltas have OCI's names for the types; the bytes are the same.
std::string whole_layer_type(const std::string& type) {
    constexpr std::string_view docker = "application/vnd.docker.image.rootfs.";
    if (!type.starts_with(docker)) return type_or(type, "application/vnd.oci.image.layer.v1.tar+gzip");
    const std::string plain = "application/vnd.oci.image.layer.v1.tar";
    if (type.ends_with("gzip")) return plain + "+gzip";
    return type.ends_with("zstd") ? plain + "+zstd" : plain;
}

class DeltaExport {
public:
    DeltaExport(const DeltaRequest& request, Repository& repository, Cancellation& cancellation,
                ImportObserver& observer)
        : request_(request),
          repository_(repository),
          cancellation_(cancellation),
          observer_(observer),
          from_(StoredImage::find(repository, request.from)),
          target_(find_target(request, repository)),
          source_options_(options_for(target_.source, request.proxy)),
          reader_(target_.source, source_options_, cancellation),
          staging_(repository.make_staging()),
          scratch_(staging_->make_scratch()),
          image_(reader_.open(target_.pinned)),
          exported_{image_.digest, image_.digest} {
        if (image_.digest == from_.digest)
            throw Error(ErrorKind::invalid_argument,
                        "both images are " + image_.digest.text() + ", so a delta would be empty");
    }

    // Everything but the name; returns the descriptor of the artifact's manifest.
    Descriptor write(ExportLayout& layout) {
        const auto layers = write_layers(layout);
        observer_.phase(ImportPhase::commit);
        const auto& manifest = image_.manifest;
        auto subject = layout.put(image_.manifest_text);
        subject.media_type =
            manifest.docker ? "application/vnd.docker.distribution.manifest.v2+json" : oci_manifest_type;
        auto config = layout.put(image_.config_text);
        config.media_type = type_or(manifest.config.media_type, oci_config_type);
        layout.put(empty_config);
        auto artifact = layout.put(delta_manifest(subject, config, source_config(), layers));
        artifact.media_type = oci_manifest_type;
        exported_.digest = artifact.digest;
        exported_.signature_policy = image_.signature_policy;
        return artifact;
    }

    const Digest& source_config() const { return from_.manifest.config.digest; }
    const Digest& target() const { return image_.digest; }
    ExportedDelta& exported() { return exported_; }
    Scratch& scratch() { return *scratch_; }

private:
    std::vector<DeltaBlob> write_layers(ExportLayout& layout) {
        const auto& layers = image_.layout.layers;
        std::set<Digest> stored, seen;
        for (const auto& layer : from_.layout.layers) stored.insert(layer.diff_id);
        std::vector<std::size_t> changed;
        std::vector<bool> present;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            present.push_back(stored.contains(layers[i].diff_id));
            exported_.layers_kept += present.back() ? 1 : 0;
            if (!present.back() && seen.insert(layers[i].blob.digest).second) changed.push_back(i);
        }
        exported_.layers = static_cast<unsigned>(layers.size());
        observer_.layers(layers, present);
        observer_.phase(ImportPhase::fetch);
        const auto sources = delta_sources(repository_, from_, cancellation_);
        delta::DeltaWorkers shared(delta_threads, worker_memory);
        std::vector<std::optional<DeltaBlob>> written(changed.size());
        std::atomic<unsigned> made = 0;
        const auto write = [&](std::size_t number) {
            const auto index = changed[number];
            const auto& layer = layers[index];
            written[number] = in_context("layer " + layer.blob.digest.text(), [&] {
                auto blob = write_layer(layout, layer, index, *sources, shared);
                made += blob.media_type == delta::tar_diff_type ? 1 : 0;
                return DeltaBlob{std::move(blob), layer.blob.digest};
            });
            observer_.finished(index);
        };
        run_in_threads(request_.layers_at_once, changed.size(), write, [&] { cancellation_.request(); });
        if (made == 0 && exported_.layers_kept == 0)
            throw Error(ErrorKind::invalid_argument,
                        "the two images have nothing in common: a delta would be as large as the image");
        std::vector<DeltaBlob> result;
        for (std::size_t number = 0; number < changed.size(); ++number) {
            exported_.bytes_written += written[number]->blob.size;
            exported_.bytes_replaced += layers[changed[number]].blob.size;
            result.push_back(std::move(*written[number]));
        }
        exported_.layers_made = made;
        exported_.layers_whole = static_cast<unsigned>(changed.size()) - made;
        return result;
    }

    Descriptor write_layer(ExportLayout& layout, const ImageLayer& layer, std::size_t index,
                           delta::SourceIndex& sources, delta::DeltaWorkers& shared) {
        const auto spooled = fetch(layer, index);
        std::optional<ExportLayout::Blob> blob(std::in_place, layout);
        delta::write_layer_diff(spooled.file.get(), spooled.size, sources, shared, request_.version, *blob,
                                cancellation_);
        if (blob->size() < layer.blob.size) {
            auto diff = blob->finish();
            diff.media_type = delta::tar_diff_type;
            return diff;
        }
        blob.emplace(layout);
        copy_blob(layer, *blob);
        auto whole = blob->finish();
        whole.media_type = whole_layer_type(layer.blob.media_type);
        return whole;
    }

    SpooledLayer fetch(const ImageLayer& layer, std::size_t index) {
        SpooledLayer spooled{open_at(scratch_->fd(), ".", O_TMPFILE | O_RDWR, 0600), 0};
        ExpansionLimit limit(request_.expansion, image_bytes_, [this] { repository_.require_space(0); });
        const auto progress = [&](std::size_t count) { observer_.fetched(index, count); };
        Checksum diff_id;
        read_blob(reader_, layer.blob, &limit, progress, [&](StoppableSource& source) {
            LayerStream stream(source, limit);
            std::uint64_t checked = 0;
            for (;;) {
                const auto piece = stream.next_piece({});
                if (piece.empty()) break;
                if (spooled.size >= checked) {
                    repository_.require_space(space_interval);
                    checked = spooled.size + space_interval;
                }
                write_all(spooled.file.get(), piece, "the layer");
                spooled.size += piece.size();
            }
            diff_id = stream.finish();
        });
        require_diff_id(layer, diff_id);
        return spooled;
    }

    // The bytes of LAYER's blob, as they are.
    void copy_blob(const ImageLayer& layer, ByteSink& sink) {
        const auto copy = [&](StoppableSource& source) {
            std::vector<std::byte> buffer(copied_bytes);
            while (const auto count = source.read(buffer)) sink.write(std::span<const std::byte>(buffer).first(count));
        };
        read_blob(
            reader_, layer.blob, nullptr, [](std::size_t) {}, copy);
    }

    const DeltaRequest& request_;
    Repository& repository_;
    Cancellation& cancellation_;
    ImportObserver& observer_;
    const StoredImage from_;
    const DeltaTarget target_;
    const ProxyOptions source_options_;
    ImageReader reader_;
    std::unique_ptr<StagingArea> staging_;
    std::shared_ptr<Scratch> scratch_;
    const SourceImage image_;
    std::atomic<std::uint64_t> image_bytes_ = 0;
    ExportedDelta exported_;
};

// Pushes ARTIFACT, which LAYOUT has as artifact_tag, and lists it in the registry with what else refers to the image.
void push_delta(ExportLayout& layout, const Descriptor& artifact, DeltaExport& work, const DeltaRequest& request,
                const Cancellation& cancellation) {
    const auto& options = request.proxy;
    const int directory = work.scratch().fd();
    push_layout(directory, artifact_tag, artifact.digest, request.destination.with_digest(artifact.digest),
                cancellation, options);
    const auto list = request.destination.with_tag(delta::referrers_tag(work.target()));
    // A list that is not seen would be replaced.
    ImageProxy proxy(cancellation, options);
    const auto existing = find_raw_manifest(list.image(), proxy, options);
    auto text = referrers_index(existing, artifact, work.source_config());
    if (text == existing) return;
    const auto push = [&](IndexForm form) {
        auto index = layout.put(text);
        index.media_type = oci_index_type;
        layout.publish(index, list_tag);
        return push_index(directory, list_tag, list, form, cancellation, options);
    };
    if (push(IndexForm::preserved)) return;
    const auto plain = without_artifact_types(text, artifact.digest);
    if (!plain)
        throw Error(
            ErrorKind::failed,
            "the delta is in the registry as " + artifact.digest.text() + ", but not listed in " + list.image() +
                ": this version of skopeo would remove the types of the other artifacts there. Use a newer skopeo");
    text = *plain;
    push(IndexForm::rewritten);
}

}  // namespace

ExportedDelta export_delta(const DeltaRequest& request, Cancellation& cancellation, ImportObserver& observer) {
    observer.phase(ImportPhase::manifest);
    check_delta_destination(request.destination);
    const auto transport = request.destination.transport();
    const auto [path, tag] = split_tag(request.destination.name());
    struct stat status;
    if (transport == Transport::oci_archive && ::lstat(path.c_str(), &status) == 0)
        throw Error(ErrorKind::invalid_argument, path + " is there already");
    auto existing = Repository::open_existing(request.repository);
    if (!existing) throw no_such_image(request.from);
    auto& repository = *existing;
    repository.write_through(request.writer);
    repository.reserve(request.disk_reserve);
    const Repository::Lock lock(repository, Repository::LockKind::shared);
    repository.writer().clear_leftovers();
    DeltaExport work(request, repository, cancellation, observer);
    if (transport == Transport::oci) {
        ExportLayout layout(path);
        layout.require_delta_tag(tag);
        const auto artifact = work.write(layout);
        cancellation.check();
        layout.publish_delta(artifact, tag, work.target(), work.source_config());
        return work.exported();
    }
    // By descriptor: where the repository lies may change, and its path may have a colon.
    const auto scratch = path_of_descriptor(work.scratch().fd());
    ExportLayout layout(scratch);
    const auto artifact = work.write(layout);
    cancellation.check();
    if (transport == Transport::oci_archive) {
        layout.publish(artifact, tag);
        write_layout_archive(scratch, layout.blobs(), path, cancellation);
        return work.exported();
    }
    layout.publish(artifact, artifact_tag);
    observer.phase(ImportPhase::push);
    // skopeo may run as another user; nobody else gets as far as here.
    if (::chmod(scratch.c_str(), 0755) != 0) throw_errno("open the layout for skopeo");
    push_delta(layout, artifact, work, request, cancellation);
    return work.exported();
}

}  // namespace imaged
