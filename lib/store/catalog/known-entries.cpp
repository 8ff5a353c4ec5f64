// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/known-entries.hpp"

#include <cstdint>
#include <cstring>
#include <exception>
#include <type_traits>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "store/files/record-file.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

namespace {

constexpr const char* file_name = "listing";
// Of some hundred thousand images.
constexpr std::size_t max_bytes = 64 * 1024 * 1024;
// Another text for each change of what is in an entry.
constexpr std::string_view first_line = "imaged listing 1 " IMAGED_VERSION "\n";

template <typename Value>
void append(std::string& text, const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Reads what append() wrote.
class Cursor {
public:
    explicit Cursor(std::string_view rest) : rest_(rest) {}

    bool at_end() const { return rest_.empty(); }
    std::string_view take(std::size_t size) {
        if (size > rest_.size()) throw Error(ErrorKind::failed, "the record of a listing is truncated");
        const auto taken = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return taken;
    }
    template <typename Value>
    Value value() {
        Value value;
        std::memcpy(&value, take(sizeof value).data(), sizeof value);
        return value;
    }

private:
    std::string_view rest_;
};

KnownEntry entry_at(Cursor& cursor) {
    KnownEntry entry;
    entry.tree = cursor.value<Checksum>();
    entry.stamp.inode = cursor.value<std::uint64_t>();
    entry.stamp.size = cursor.value<std::uint64_t>();
    entry.stamp.changed = cursor.value<std::int64_t>();
    const auto layers = cursor.value<std::uint32_t>();
    for (std::uint32_t i = 0; i < layers; ++i) {
        const auto blob = cursor.value<Checksum>();
        const auto kind = cursor.value<std::uint8_t>();
        if (kind > static_cast<std::uint8_t>(LayerKind::derived))
            throw Error(ErrorKind::failed, "the record of a listing has a layer of an unknown kind");
        entry.layers.push_back({blob, static_cast<LayerKind>(kind)});
    }
    entry.layers.shrink_to_fit();
    entry.text = cursor.take(cursor.value<std::uint32_t>());
    return entry;
}

}  // namespace

KnownEntries read_known_entries(int repository) noexcept {
    try {
        const auto directory = open_records(repository, records_directory);
        const auto text = directory ? read_record(directory.get(), file_name, max_bytes) : std::nullopt;
        if (!text || !text->starts_with(first_line) || text->size() < first_line.size() + sizeof(Checksum)) return {};
        const auto content = std::string_view(*text).substr(0, text->size() - sizeof(Checksum));
        Cursor cursor(content.substr(first_line.size()));
        if (Cursor(std::string_view(*text).substr(content.size())).value<Checksum>() != sha256(content)) return {};
        KnownEntries entries;
        while (!cursor.at_end()) {
            const auto commit = cursor.value<Checksum>();
            entries.emplace(commit, entry_at(cursor));
        }
        return entries;
    } catch (const std::exception&) {
        return {};
    }
}

void write_known_entries(int repository, const std::vector<KnownText>& entries) noexcept {
    try {
        std::string text(first_line);
        for (const auto& [commit, entry, known] : entries) {
            append(text, commit);
            append(text, entry->tree);
            append(text, entry->stamp.inode);
            append(text, entry->stamp.size);
            append(text, entry->stamp.changed);
            append(text, static_cast<std::uint32_t>(entry->layers.size()));
            for (const auto& layer : entry->layers) {
                append(text, layer.blob);
                append(text, static_cast<std::uint8_t>(layer.kind));
            }
            append(text, static_cast<std::uint32_t>(known.size()));
            text += known;
            if (text.size() > max_bytes) return;
        }
        append(text, sha256(text));
        if (const auto directory = make_records(repository, records_directory))
            write_record(directory.get(), file_name, text);
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
