// SPDX-License-Identifier: Apache-2.0
#include "delta/layer-diff.hpp"

#include <sys/mman.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "delta/block-match.hpp"
#include "delta/tar-diff-reader.hpp"
#include "layer/tar-writer.hpp"
#include "layer/text-source.hpp"

using namespace imaged;
using delta::TarDiffVersion;

namespace {

using Files = std::map<std::string, std::string>;

class TextSink : public ByteSink {
public:
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override {
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    std::string text;
};

class FailingSink : public ByteSink {
public:
    using ByteSink::write;
    void write(std::span<const std::byte>) override { throw Error(ErrorKind::no_space, "the disk is full"); }
};

FileDescriptor memory(const std::string& text) {
    FileDescriptor file(::memfd_create("file", MFD_CLOEXEC));
    write_all(file.get(), std::as_bytes(std::span(text)), "a file");
    return file;
}

// A text that does not repeat itself.
std::string random_text(std::size_t size, unsigned seed) {
    std::string out;
    for (auto state = seed; out.size() < size; out += static_cast<char>(state >> 16))
        state = state * 1103515245 + 12345;
    return out;
}

std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files) {
    TextSink sink;
    TarWriter tar(sink, TarStyle::pax);
    for (const auto& [name, content] : files) {
        TarItem item;
        item.path = name;
        item.mode = 0644;
        tar.add(item, content);
    }
    tar.finish();
    return sink.text;
}

// The source image.
class Source {
public:
    explicit Source(Files files)
        : files_(std::move(files)),
          index_({[this](const Checksum& object) {
                      delta::SourceIndex::File file;
                      const auto& text = files_.at(paths_.at(object));
                      file.fd = memory(text);
                      file.size = text.size();
                      return file;
                  },
                  [this](const Checksum& object) { return std::optional(files_.at(paths_.at(object)).size()); }},
                 cancellation_) {
        for (const auto& [path, text] : files_) {
            paths_[sha256(path)] = path;
            index_.add(path, sha256(path), false);
        }
        index_.finish();
    }

    std::string diff(const std::string& tar, TarDiffVersion version = TarDiffVersion::v2) {
        TextSink sink;
        write(tar, version, sink);
        return sink.text;
    }
    void write(const std::string& tar, TarDiffVersion version, ByteSink& sink) {
        delta::DeltaWorkers workers(2, 64 * 1024 * 1024);
        counts = delta::write_layer_diff(memory(tar).get(), tar.size(), index_, workers, version, sink, cancellation_);
    }
    std::string applied(const std::string& diff) const {
        TextSource packed(diff);
        TarDiffReader reader(packed, [&](const std::string& name) { return memory(files_.at(name)); });
        std::string out;
        std::vector<std::byte> buffer(10'000);
        while (const auto count = reader.read(buffer)) out.append(reinterpret_cast<const char*>(buffer.data()), count);
        return out;
    }
    // Checks that both versions make TAR; returns the size of the second.
    std::size_t round_trip(const std::string& tar) {
        CHECK(applied(diff(tar, TarDiffVersion::v1)) == tar);
        const auto made = diff(tar);
        CHECK(applied(made) == tar);
        return made.size();
    }

    delta::LayerDiffCounts counts;
    Cancellation& cancellation() { return cancellation_; }

private:
    Cancellation cancellation_;
    Files files_;
    std::map<Checksum, std::string> paths_;
    delta::SourceIndex index_;
};

}  // namespace

TEST_CASE("A file that the source image has is copied, wherever it is") {
    const auto content = random_text(100'000, 1);
    Source source({{"usr/a", content}, {"usr/b", random_text(100'000, 2)}});
    CHECK(source.round_trip(tar_of({{"usr/a", content}})) < 500);
    CHECK(source.counts.copied == content.size());
    CHECK(source.round_trip(tar_of({{"elsewhere/c", content}})) < 500);
    CHECK(source.counts.copied == content.size());
}

TEST_CASE("A file that has changed is made from the one at its path, or at one that differs in numbers") {
    const auto content = random_text(200'000, 3);
    auto changed = content;
    changed.replace(100'000, 10, "other bytes");
    changed.insert(50'000, "some more of them");
    Source source({{"usr/lib/libx.so.1.2.3", content}, {"usr/lib/liby.so.1", random_text(200'000, 4)}});
    for (const auto* name : {"usr/lib/libx.so.1.2.3", "usr/lib/libx.so.1.10-4", "./usr/lib/libx.so.1.2.3"}) {
        CHECK(source.round_trip(tar_of({{name, changed}})) < 1000);
        CHECK(source.counts.derived == changed.size());
    }
}

TEST_CASE("Moved addresses are differences") {
    auto older = random_text(300'000, 5), newer = older;
    for (std::size_t at = 20; at < newer.size(); at += 40) newer[at] = static_cast<char>(newer[at] + 4);
    Source source({{"usr/bin/x", older}});
    CHECK(source.round_trip(tar_of({{"usr/bin/x", newer}})) < 20'000);
}

TEST_CASE("What the source image knows nothing of is data") {
    Source source(Files{{"usr/a", "x"}});
    const auto tar = tar_of({{"usr/new", random_text(300'000, 6)}, {"usr/a", ""}});
    CHECK(source.round_trip(tar) > 300'000);
    CHECK(source.counts.data == tar.size());
    CHECK(source.round_trip("") < 100);
    CHECK(Source(Files()).round_trip(tar) > 300'000);
}

TEST_CASE("Files of every size, in pieces") {
    for (const std::size_t size : {63, 64, 65, 511, 512, 513, 8 * 1024 * 1024 + 1}) {
        const auto content = random_text(size, 7);
        Source source({{"a", content.substr(0, size - 1) + "?"}, {"b", content + "behind"}});
        source.round_trip(tar_of({{"a", content}, {"b", content}, {"c", "between"}, {"d", content}}));
    }
}

TEST_CASE("A tar that is none, or that ends early, is refused") {
    Source source({{"a", random_text(1000, 8)}});
    CHECK_THROWS_AS(source.diff(random_text(5000, 9)), Error);
    const auto tar = tar_of({{"a", random_text(100'000, 8)}});
    CHECK_THROWS_AS(source.diff(tar.substr(0, 50'000)), Error);
}

TEST_CASE("What ends the writing ends the reading") {
    std::vector<std::pair<std::string, std::string>> files;
    Files older;
    for (unsigned i = 0; i < 30; ++i) {
        files.emplace_back("f" + std::to_string(i), random_text(1024 * 1024, i));
        older.emplace("f" + std::to_string(i), random_text(1024 * 1024, i + 1));
    }
    Source source(older);
    FailingSink sink;
    CHECK_THROWS_WITH(source.write(tar_of(files), TarDiffVersion::v2, sink), "the disk is full");
    source.cancellation().request();
    CHECK_THROWS_AS(source.diff(tar_of(files)), Error);
}

TEST_CASE("Matches make the content, whatever was changed") {
    Cancellation cancellation;
    for (unsigned seed = 1; seed < 40; ++seed) {
        auto state = seed * 7919;
        const auto next = [&](std::size_t below) {
            state = state * 1103515245 + 12345;
            return below == 0 ? 0 : (state >> 8) % below;
        };
        const auto older = seed % 5 == 0 ? std::string(next(100'000), 'z') : random_text(next(100'000), seed);
        auto newer = older;
        for (auto edits = next(20); edits > 0; --edits)
            newer.replace(next(newer.size() + 1), next(200), random_text(next(300), state));
        const auto file = memory(older);
        const delta::BlockIndex index(file.get(), older.size(), cancellation);
        std::string made;
        for (const auto& match : index.match(std::as_bytes(std::span(newer)), cancellation)) {
            if (match.new_bytes) {
                made += newer.substr(made.size(), match.size);
                continue;
            }
            auto piece = older.substr(match.offset, match.size);
            for (std::size_t i = 0; i < match.differences.size(); ++i)
                piece[i] = static_cast<char>(piece[i] + static_cast<char>(match.differences[i]));
            made += piece;
        }
        CHECK(made == newer);
    }
}
