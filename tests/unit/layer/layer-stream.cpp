// SPDX-License-Identifier: Apache-2.0
#include "layer/layer-stream.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "catch.hpp"
#include "layer/compressor.hpp"

using namespace imaged;

namespace {

class FileSink : public ByteSink {
public:
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override { write_all(fd.get(), bytes, "a layer"); }
    FileDescriptor fd{::memfd_create("layer", MFD_CLOEXEC)};
};

FileDescriptor layer_of(std::string_view content) {
    FileSink sink;
    const auto compressor = compress(Compression::gzip, sink);
    compressor->write(content);
    compressor->finish();
    ::lseek(sink.fd.get(), 0, SEEK_SET);
    return std::move(sink.fd);
}

std::string some_content(std::size_t size) {
    std::mt19937 random(4);
    std::string content(size, 0);
    for (auto& byte : content) byte = static_cast<char>('a' + random() % 20);
    return content;
}

}  // namespace

TEST_CASE("a stream has its hash, whoever computes it and whatever is read of it") {
    // Less than a block, just one, and many with a part of one.
    for (const std::size_t size : {0UL, 1000UL, 256UL * 1024, 3'000'001UL}) {
        const auto content = some_content(size);
        for (const bool beside : {true, false}) {
            for (const std::size_t most : {std::size_t(0), size / 3, size}) {
                INFO(size << " bytes, " << most << " of them read, " << (beside ? "one thread" : "two threads"));
                const auto layer = layer_of(content);
                const Cancellation cancellation;
                DescriptorSource compressed(layer.get(), cancellation, {std::chrono::seconds(60)});
                std::atomic<std::uint64_t> image_bytes = 0;
                ExpansionLimit limit({}, image_bytes, [] {});
                LayerStream stream(compressed, limit, LayerStream::Form::packed, beside);
                std::string text(most, 0);
                CHECK(stream.read(std::as_writable_bytes(std::span(text))) == most);
                CHECK(text == content.substr(0, most));
                CHECK(stream.finish() == sha256(content));
                CHECK(stream.total() == size);
            }
        }
    }
}

TEST_CASE("files are hashed beside the stream they are in") {
    const auto content = some_content(5'000'000);
    std::mt19937 random(5);
    for (const std::size_t largest : {100UL, 5000UL, 128UL * 1024, 1'000'000UL}) {
        INFO("files of up to " << largest << " bytes");
        const auto layer = layer_of(content);
        const Cancellation cancellation;
        DescriptorSource compressed(layer.get(), cancellation, {std::chrono::seconds(60)});
        std::atomic<std::uint64_t> image_bytes = 0;
        ExpansionLimit limit({}, image_bytes, [] {});
        LayerStream stream(compressed, limit, LayerStream::Form::packed, true);
        REQUIRE(stream.backlog() != nullptr);
        bool all_right = true;
        PairedSha256 hash;
        for (;;) {
            std::string file(1 + random() % largest, 0);
            file.resize(stream.read(std::as_writable_bytes(std::span(file))));
            if (file.empty()) break;
            hash.update("its header");
            stream.backlog()->update_beside(hash, std::as_bytes(std::span(file)));
            all_right &= hash.finish() == sha256("its header" + file);
        }
        CHECK(all_right);
        CHECK(stream.finish() == sha256(content));
    }
}

TEST_CASE("a stream that is left in the middle stops") {
    const auto content = some_content(5'000'000);
    for (const bool beside : {true, false}) {
        const auto layer = layer_of(content);
        const Cancellation cancellation;
        DescriptorSource compressed(layer.get(), cancellation, {std::chrono::seconds(60)});
        std::atomic<std::uint64_t> image_bytes = 0;
        ExpansionLimit limit({}, image_bytes, [] {});
        LayerStream stream(compressed, limit, LayerStream::Form::packed, beside);
        std::string text(1000, 0);
        CHECK(stream.read(std::as_writable_bytes(std::span(text))) == 1000);
    }
}

TEST_CASE("what is no layer fails where it is read") {
    for (const bool beside : {true, false}) {
        FileSink sink;
        sink.write(std::string_view("\x1f\x8b\x08 and nothing that gzip would say after that"));
        ::lseek(sink.fd.get(), 0, SEEK_SET);
        const Cancellation cancellation;
        DescriptorSource compressed(sink.fd.get(), cancellation, {std::chrono::seconds(60)});
        std::atomic<std::uint64_t> image_bytes = 0;
        ExpansionLimit limit({}, image_bytes, [] {});
        LayerStream stream(compressed, limit, LayerStream::Form::packed, beside);
        CHECK_THROWS_AS(stream.finish(), Error);
    }
}
