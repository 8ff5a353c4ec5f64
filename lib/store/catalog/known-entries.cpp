// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/known-entries.hpp"

#include <cstdint>
#include <exception>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "store/files/record-file.hpp"
#include "store/files/repository-writer.hpp"
#include "store/files/sealed-record.hpp"

namespace imaged {

namespace {

constexpr const char* file_name = "listing";
// Of some hundred thousand images.
constexpr std::size_t max_bytes = 64 * 1024 * 1024;
// Another text for each change of what is in an entry.
constexpr std::string_view first_line = "imaged listing 1 " IMAGED_VERSION "\n";

KnownEntry entry_at(RecordReader& record) {
    KnownEntry entry;
    entry.tree = record.take<Checksum>();
    entry.stamp.inode = record.take<std::uint64_t>();
    entry.stamp.size = record.take<std::uint64_t>();
    entry.stamp.changed = record.take<std::int64_t>();
    const auto layers = record.take<std::uint32_t>();
    for (std::uint32_t i = 0; i < layers; ++i) {
        const auto blob = record.take<Checksum>();
        const auto kind = record.take<std::uint8_t>();
        if (kind > static_cast<std::uint8_t>(LayerKind::derived))
            throw Error(ErrorKind::corrupt_input, "the record of a listing has a layer of an unknown kind");
        entry.layers.push_back({blob, static_cast<LayerKind>(kind)});
    }
    entry.layers.shrink_to_fit();
    entry.text = record.take_bytes(record.take<std::uint32_t>());
    return entry;
}

}  // namespace

KnownEntries read_known_entries(int repository) noexcept {
    try {
        const auto directory = open_records(repository, records_directory);
        const auto text = directory ? read_record(directory.get(), file_name, max_bytes) : std::nullopt;
        const auto body = text ? unsealed(*text, first_line) : std::nullopt;
        if (!body) return {};
        RecordReader record(*body);
        KnownEntries entries;
        while (!record.at_end()) {
            const auto commit = record.take<Checksum>();
            entries.emplace(commit, entry_at(record));
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
        seal(text);
        if (const auto directory = make_records(repository, records_directory))
            write_record(directory.get(), file_name, text);
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
