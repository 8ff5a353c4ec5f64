// SPDX-License-Identifier: Apache-2.0
// A sink that keeps in memory what reading a layer asks for again, and of other content only the hash.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "layer/metadata-limit.hpp"
#include "layer/object-sink.hpp"

namespace imaged::fuzz {

class MemorySink : public ObjectSink {
public:
    Checksum put_file(const FileMeta& meta, std::vector<std::byte> content) override {
        Sha256 hash;
        hash.update(file_header(meta, {}));
        hash.update(content);
        return put(hash.finish(), content.size());
    }
    Checksum put_symlink(const FileMeta& meta, const std::string& target) override {
        const auto checksum = sha256(file_header(meta, target));
        symlinks_[checksum] = target;
        return put(checksum, 0);
    }
    Checksum put_metadata(ObjectType type, std::string_view bytes) override {
        check_metadata_size(type, bytes.size());
        const auto checksum = sha256(bytes);
        metadata_[{type, checksum}] = bytes;
        return checksum;
    }
    std::unique_ptr<LargeFile> begin_large(const FileMeta& meta, std::uint64_t size) override {
        return std::make_unique<Large>(*this, meta, size);
    }
    bool clone_file(const Checksum&, const FileMeta&, int) override { return false; }
    std::string read_metadata(ObjectType type, const Checksum& checksum) override {
        const auto found = metadata_.find({type, checksum});
        if (found == metadata_.end()) throw Error(ErrorKind::repository_damaged, "missing");
        return found->second;
    }
    std::optional<std::string> read_symlink(const Checksum& checksum) override {
        const auto found = symlinks_.find(checksum);
        if (found != symlinks_.end()) return found->second;
        if (!files_.contains(checksum)) throw Error(ErrorKind::repository_damaged, "missing");
        return std::nullopt;
    }
    std::optional<std::uint64_t> file_size(const Checksum& checksum) override {
        if (symlinks_.contains(checksum)) return std::nullopt;
        return files_.at(checksum);
    }
    bool has_file(const Checksum& checksum) override { return files_.contains(checksum); }
    std::unique_ptr<ObjectSink> side_sink() override { return std::make_unique<MemorySink>(); }
    void adopt(const Checksum& file, ObjectSink& side) override {
        auto& other = dynamic_cast<MemorySink&>(side);
        if (const auto found = other.files_.find(file); found != other.files_.end()) files_.insert(*found);
        if (const auto found = other.symlinks_.find(file); found != other.symlinks_.end()) symlinks_.insert(*found);
    }
    void retain_dirtrees(const std::unordered_set<Checksum>&) override {}
    void flush() override {}
    using ObjectSink::publish;
    void publish(const std::function<void()>&) override {}
    SinkCounts counts() const override { return {}; }

private:
    class Large : public LargeFile {
    public:
        Large(MemorySink& sink, const FileMeta& meta, std::uint64_t size) : sink_(sink), size_(size) {
            hash_.update(file_header(meta, {}));
        }
        std::uint64_t append(std::span<const std::byte> piece) override {
            hash_.update(piece);
            written_ += piece.size();
            if (written_ > max_written) throw Error(ErrorKind::no_space, "enough for a fuzzer");
            return 0;
        }
        Checksum finish() override {
            if (written_ != size_) throw Error(ErrorKind::corrupt_input, "another size");
            return sink_.put(hash_.finish(), written_);
        }

    private:
        static constexpr std::uint64_t max_written = 16 * 1024 * 1024;
        MemorySink& sink_;
        const std::uint64_t size_;
        std::uint64_t written_ = 0;
        Sha256 hash_;
    };

    Checksum put(const Checksum& checksum, std::uint64_t size) {
        files_[checksum] = size;
        return checksum;
    }

    std::map<Checksum, std::uint64_t> files_;
    std::map<Checksum, std::string> symlinks_;
    std::map<std::pair<ObjectType, Checksum>, std::string> metadata_;
};

}  // namespace imaged::fuzz
