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

StagedLayer import_tar_diff(const LayerWork& work, const Descriptor& diff, LocalFiles& files) {
    auto& source = work.source;
    const auto blob = source.open(diff);
    const auto taken = [&](std::span<std::byte> bytes) {
        work.hooks.progress(bytes.size());
        return blob->take(bytes);
    };
    DescriptorSource packed(blob->fd(), source.cancellation(),
                            {.stall_time = source.stall_time(),
                             .taken = taken,
                             .expected_bytes = diff.size,
                             .complete = [&] { blob->request_verdict(); },
                             .rate = source.rate()});
    StagedLayer staged;
    staged.sink = work.hooks.make_sink();
    {
        // As if all of the layer's own blob were read: it may unpack to as much as that.
        work.limit.read(work.layer.blob.size);
        DeltaStream tar(packed, files);
        LayerStream stream(tar, work.limit, LayerStream::Form::plain);
        require_diff_id(work.layer, read_layer(stream, work, staged));
    }
    drain(packed);
    blob->finish();
    return staged;
}

}  // namespace

StagedLayer import_delta_layer(const LayerWork& work, const DeltaLayer& made, LocalFiles& files) {
    work.hooks.expect_bytes(made.blob.size);
    auto staged = [&] {
        if (made.tar_diff) return import_tar_diff(work, made.blob, files);
        auto packed = work.layer;
        packed.blob = made.blob;
        return import_layer({work.source, packed, work.rules, work.limit, work.hooks});
    }();
    staged.by_delta = true;
    staged.partial = made.blob.digest != work.layer.blob.digest;
    return staged;
}

}  // namespace imaged
