// SPDX-License-Identifier: Apache-2.0
#include "chunked/table.hpp"

#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/digest.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// The root, the list, an entry, and what an entry may have inside.
constexpr std::size_t max_depth = 8;
constexpr std::uint64_t known_version = 1;

[[noreturn]] void refuse_table(const std::string& why) {
    throw Error(ErrorKind::corrupt_input, "the table of contents: " + why);
}

// The characters of a source, one at a time.
class Characters {
public:
    explicit Characters(ByteSource& source) : source_(source), buffer_(buffer_bytes) { fill(); }

    bool ended() const { return position_ == size_; }
    char now() const { return static_cast<char>(buffer_[position_]); }
    void advance() {
        if (++since_value_ > max_table_value_bytes)
            throw Error(ErrorKind::unsupported_image, "the table of contents has a value that is too long");
        if (++position_ == size_) fill();
    }
    // A value has been read.
    void note_value() { since_value_ = 0; }

private:
    static constexpr std::size_t buffer_bytes = 64 * 1024;
    void fill() {
        position_ = 0;
        size_ = source_.read(buffer_);
    }

    ByteSource& source_;
    std::vector<std::byte> buffer_;
    std::size_t position_ = 0, size_ = 0;
    std::size_t since_value_ = 0;
};

// For the parser. Null is the end.
class Iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = char;

    Iterator() = default;
    explicit Iterator(Characters& characters) : characters_(&characters) {}
    char operator*() const { return characters_->now(); }
    Iterator& operator++() {
        characters_->advance();
        return *this;
    }
    Iterator operator++(int) {
        ++*this;
        return *this;
    }
    bool operator==(const Iterator& other) const { return at_end() == other.at_end(); }
    bool operator!=(const Iterator& other) const { return at_end() != other.at_end(); }

private:
    bool at_end() const { return characters_ == nullptr || characters_->ended(); }
    Characters* characters_ = nullptr;
};

Checksum checksum_of(std::string_view text) {
    const auto found = Digest::find(text);
    if (!found) refuse_table("a digest that is none");
    return found->checksum();
}

// What the parser calls; the names are nlohmann::json's.
class TableReader : public json::json_sax_t {
public:
    TableReader(Characters& characters, const std::function<void(TableFile&)>& take,
                const std::function<void(TableEntry&)>& take_other)
        : characters_(characters), take_(take), take_other_(take_other) {}

    bool null() override { return value(); }
    bool boolean(bool) override { return value(); }
    bool number_integer(std::int64_t) override { return value(); }
    bool number_float(double, const std::string&) override { return value(); }
    bool binary(json::binary_t&) override { return value(); }
    bool number_unsigned(std::uint64_t number) override {
        if (depth_ == 1 && key_ == "version") version_ = number;
        if (is_in_entry()) {
            if (key_ == "size") file_.size = number;
            if (key_ == "offset") file_.offset = number;
            if (key_ == "endOffset") file_.end = number;
            if (key_ == "chunkOffset") chunk_offset_ = number;
            if (key_ == "chunkSize") chunk_.size = number;
        }
        return value();
    }
    bool string(std::string& text) override {
        if (depth_ == 1 && key_ == "tarSplitDigest" && !text.empty()) split_ = checksum_of(text);
        if (is_in_entry()) {
            if (key_ == "type") type_ = text;
            if (key_ == "name") file_.name = std::move(text);
            if (key_ == "digest") digest_ = std::move(text);
            if (key_ == "linkName") target_ = std::move(text);
            if (key_ == "chunkDigest") chunk_digest_ = std::move(text);
        }
        return value();
    }
    bool start_object(std::size_t) override {
        enter();
        if (depth_ == 3 && in_entries_) {
            file_ = {};
            chunk_ = {};
            chunk_offset_ = 0;
            chunk_digest_.clear();
            type_.clear();
            digest_.clear();
            target_.clear();
        }
        return value();
    }
    bool key(std::string& text) override {
        if (depth_ == 1) in_entries_ = text == "entries";
        if (depth_ == 1 || is_in_entry()) key_ = std::move(text);
        return value();
    }
    bool end_object() override {
        if (is_in_entry()) take_entry();
        --depth_;
        return value();
    }
    bool start_array(std::size_t) override {
        if (depth_ == 0) refuse_table("no object");
        enter();
        return value();
    }
    bool end_array() override {
        --depth_;
        return value();
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
        refuse_table("not JSON at byte " + std::to_string(position));
    }

    std::optional<Checksum> finish() {
        hand_over();
        if (version_ != known_version)
            throw Error(ErrorKind::unsupported_image, "a table of contents of another version");
        return split_;
    }

private:
    bool value() {
        characters_.note_value();
        return true;
    }
    void enter() {
        if (++depth_ > max_depth) refuse_table("it nests too deep");
    }
    bool is_in_entry() const { return depth_ == 3 && in_entries_; }

    void take_entry() {
        // Chunks are parts of the file that they follow.
        if (type_ == "chunk") return take_chunk();
        hand_over();
        const bool is_file = type_ == "reg" && file_.size > 0;
        if (!is_file && !take_other_) return;
        if (++files_ > max_table_files)
            throw Error(ErrorKind::unsupported_image, "the table of contents has too many files");
        if (!is_file) {
            TableEntry entry{std::move(file_.name), std::move(type_), std::move(target_)};
            return take_other_(entry);
        }
        file_.content = checksum_of(digest_);
        if (file_.offset < end_ || file_.end <= file_.offset)
            refuse_table("file number " + std::to_string(files_) + " is at no place of its own");
        end_ = file_.end;
        whole_ = std::move(file_);
        chunks_fit_ = true;
        covered_ = 0;
        if (!chunk_digest_.empty()) take_chunk_at(whole_->offset);
    }

    // What a table says of chunks may be anything; then the file has none.
    void take_chunk() {
        if (whole_) take_chunk_at(file_.offset);
    }
    void take_chunk_at(std::uint64_t offset) {
        auto& chunks = whole_->chunks;
        const auto content = Digest::find(chunk_digest_);
        const auto begin = chunks.empty() ? whole_->offset : chunks.back().offset + 1;
        chunks_fit_ = chunks_fit_ && content && chunks.size() < max_file_chunks && chunk_offset_ == covered_ &&
                      chunk_.size > 0 && chunk_.size <= whole_->size - covered_ && offset >= begin &&
                      offset < whole_->end && (!chunks.empty() || offset == whole_->offset);
        if (!chunks_fit_) return;
        chunks.push_back({chunk_.size, offset, content->checksum()});
        covered_ += chunk_.size;
    }
    // The last file, of which all chunks have been read.
    void hand_over() {
        if (!whole_) return;
        if (!chunks_fit_ || covered_ != whole_->size || whole_->chunks.size() == 1) whole_->chunks.clear();
        take_(*whole_);
        whole_.reset();
    }

    Characters& characters_;
    const std::function<void(TableFile&)>& take_;
    const std::function<void(TableEntry&)>& take_other_;
    std::size_t depth_ = 0, files_ = 0;
    bool in_entries_ = false;
    std::string key_, type_, digest_, target_;
    TableFile file_;                  // that is read
    std::optional<TableFile> whole_;  // that was read, but perhaps for chunks
    TableChunk chunk_{};
    std::uint64_t chunk_offset_ = 0, covered_ = 0;
    std::string chunk_digest_;
    bool chunks_fit_ = true;
    std::uint64_t end_ = 0, version_ = 0;
    std::optional<Checksum> split_;
};

}  // namespace

std::optional<Checksum> read_table(ByteSource& source, const std::function<void(TableFile&)>& take,
                                   const std::function<void(TableEntry&)>& take_other) {
    Characters characters(source);
    TableReader reader(characters, take, take_other);
    json::sax_parse(Iterator(characters), Iterator(), &reader);
    return reader.finish();
}

}  // namespace imaged
