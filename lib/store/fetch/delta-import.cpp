// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/delta-import.hpp"

#include "delta/tar-diff-reader.hpp"
#include "layer/layer-stream.hpp"

namespace imaged {

namespace {

class DeltaStream : public StoppableSource {
public:
    DeltaStream(DescriptorSource& packed, LocalFiles& files)
        : packed_(packed), tar_(packed, [&](const std::string& name) { return files.open_named(name); }) {}

    std::size_t read(std::span<std::byte> buffer) override { return tar_.read(buffer); }
    void stop() override { packed_.stop(); }

private:
    DescriptorSource& packed_;
    TarDiffReader tar_;
};

StagedLayer import_tar_diff(LayerSource& source, const ImageLayer& layer, const Descriptor& diff,
                            const DerivedLayerRules& rules, LocalFiles& files, const ChunkedHooks& hooks,
                            ExpansionLimit& limit) {
    const auto blob = source.open(diff);
    const auto taken = [&](std::span<std::byte> bytes) {
        hooks.progress(bytes.size());
        return blob->take(bytes);
    };
    DescriptorSource packed(blob->fd(), source.cancellation(),
                            {.stall_time = source.stall_time(),
                             .taken = taken,
                             .expected_bytes = diff.size,
                             .complete = [&] { blob->request_verdict(); },
                             .rate = source.rate()});
    StagedLayer staged;
    staged.sink = hooks.make_sink();
    {
        // As if all of the layer's own blob were read: it may unpack to as much as that.
        limit.read(layer.blob.size);
        DeltaStream tar(packed, files);
        LayerStream stream(tar, limit, LayerStream::Form::plain);
        require_diff_id(layer, read_layer(stream, layer, rules, limit, staged, hooks.early));
    }
    drain(packed);
    blob->finish();
    return staged;
}

}  // namespace

StagedLayer import_delta_layer(LayerSource& source, const ImageLayer& layer, const DeltaLayer& made,
                               const DerivedLayerRules& rules, LocalFiles& files, const ChunkedHooks& hooks,
                               ExpansionLimit& limit) {
    hooks.expect_bytes(made.blob.size);
    auto staged = [&] {
        if (made.tar_diff) return import_tar_diff(source, layer, made.blob, rules, files, hooks, limit);
        auto packed = layer;
        packed.blob = made.blob;
        return import_layer(source, packed, rules, hooks.make_sink(), limit, hooks.progress, hooks.early);
    }();
    staged.by_delta = true;
    staged.partial = made.blob.digest != layer.blob.digest;
    return staged;
}

}  // namespace imaged
