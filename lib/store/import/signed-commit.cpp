// SPDX-License-Identifier: Apache-2.0
#include "store/import/signed-commit.hpp"

#include <atomic>
#include <span>

#include "base/error.hpp"
#include "layer/byte-source.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/layer-stream.hpp"
#include "layer/tar-reader.hpp"
#include "store/fetch/layer-import.hpp"
#include "store/import/remote-keys.hpp"

namespace imaged {

namespace {

CommitHead stored_head(const Repository& repository, const Checksum& checksum) {
    auto commit = repository.load_metadata(ObjectType::commit, checksum);
    if (!commit) throw Error(ErrorKind::repository_damaged, "commit " + checksum.hex() + " is missing");
    return {checksum, *std::move(commit), repository.detached_metadata(checksum)};
}

CommitHead fetched_head(LayerSource& layers, const ImageLayer& layer) {
    const auto blob = layers.open(layer.blob);
    // What is read here is measured by the signature, so no verdict on the blob is needed; but once asked for, skopeo
    // must be heard, and a short layer is read to its end, which comes only after that.
    bool asked = false;
    std::atomic<std::uint64_t> image_bytes = 0;
    ExpansionLimit limit({}, image_bytes, [] {});  // nothing of it is stored
    const auto taken = [&](std::span<std::byte> bytes) {
        const auto left = blob->take(bytes);
        limit.read(left);
        return left;
    };
    DescriptorSource compressed(blob->fd(), layers.cancellation(),
                                {.stall_time = layers.stall_time(),
                                 .taken = taken,
                                 .expected_bytes = layer.blob.size,
                                 .complete =
                                     [&] {
                                         asked = true;
                                         blob->request_verdict();
                                     },
                                 .rate = layers.rate()});
    auto head = [&] {
        LayerStream stream(compressed, limit);
        TarReader tar(stream, &limit);
        return read_commit_head(tar);
    }();
    if (asked) {
        drain(compressed);
        blob->finish();
    }
    return head;
}

}  // namespace

std::optional<CommitHead> verify_signed_commit(const Repository* repository, LayerSource& layers,
                                               const ImageReference& image, const SourceImage& source,
                                               const std::vector<std::optional<Checksum>>& present) {
    if (image.signature_source() != SignatureSource::ostree_remote) return std::nullopt;
    if (repository == nullptr)
        throw Error(ErrorKind::policy_rejected,
                    "there is no repository yet, so there are no keys of the OSTree remote " + *image.remote());
    const RemoteKeys keys(*repository, *image.remote());
    const auto& layer = source.layout.layers.front();
    const auto& stored = present.front();
    if (stored) {
        try {
            auto head = stored_head(*repository, *stored);
            keys.verify(head);
            return head;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::policy_rejected) throw;
            // The image may have signatures that the repository lacks: the layer may have come with another image.
        }
    }
    auto head = in_context("layer " + layer.blob.digest.text(), [&] { return fetched_head(layers, layer); });
    keys.verify(head);
    if (stored && stored != head.checksum)
        throw Error(ErrorKind::policy_rejected,
                    "the commit " + head.checksum.hex() +
                        ", whose signature was verified, is not the one that is stored: " + stored->hex());
    return head;
}

}  // namespace imaged
