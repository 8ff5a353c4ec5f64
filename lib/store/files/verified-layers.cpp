// SPDX-License-Identifier: Apache-2.0
#include "store/files/verified-layers.hpp"

#include <algorithm>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "store/files/record-file.hpp"

namespace imaged {

namespace {

constexpr const char* layers_directory = "extensions/imaged/layers";
constexpr const char* first_line = "imaged verified 1";
constexpr const char* image_kind = "image";
constexpr std::size_t max_bytes = 1024;
constexpr std::size_t hex_digits = 64;
// In place of a blob that was not read as a whole: no blob has this digest.
constexpr Checksum no_blob{};

std::string var_text(bool moved) {
    return moved ? "moved" : "kept";
}

Checksum image_key(const Checksum& manifest, const Checksum& merge) {
    return sha256(manifest.hex() + merge.hex());
}

}  // namespace

std::string VerifiedLayers::serialise(const Record& record) {
    auto text = std::string(first_line) + "\nkind " + record.kind + "\ndigest " + record.key.hex() + "\nblob " +
                record.blob.hex() + "\ncommit " + record.commit.hex() + "\n" +
                (record.var.empty() ? "" : "var " + record.var + "\n");
    return text + "sum " + sha256(text).hex() + "\n";
}

std::optional<VerifiedLayers::Record> VerifiedLayers::parse(const std::string& text, const std::string& kind,
                                                            const Checksum& key) {
    const auto field = [&](const std::string& name) {
        const auto begin = text.find("\n" + name + " ");
        if (begin == std::string::npos) return std::string();
        const auto value = begin + name.size() + 2;
        return text.substr(value, text.find('\n', value) - value);
    };
    const auto blob = Checksum::from_hex(field("blob")), commit = Checksum::from_hex(field("commit"));
    if (!blob || !commit) return std::nullopt;
    Record record{.kind = kind, .key = key, .blob = *blob, .commit = *commit, .var = field("var")};
    if (serialise(record) != text) return std::nullopt;
    if (kind == image_kind && key != image_key(record.blob, record.commit)) return std::nullopt;
    return record;
}

std::optional<int> VerifiedLayers::opened() const {
    const std::lock_guard lock(mutex_);
    if (!directory_) directory_ = open_records(repository_, layers_directory);
    return directory_ ? std::optional(directory_.get()) : std::nullopt;
}

std::optional<VerifiedLayers::Record> VerifiedLayers::find(const std::string& kind, const Checksum& key) const {
    try {
        const auto directory = opened();
        const auto text = directory ? read_record(*directory, key.hex() + "." + kind, max_bytes) : std::nullopt;
        return text ? parse(*text, kind, key) : std::nullopt;
    } catch (const Error&) {
        return std::nullopt;  // it is fetched again, and nothing is lost
    }
}

std::optional<Checksum> VerifiedLayers::layer(LayerKind kind, const Digest& diff_id) const {
    const auto record = find(kind, diff_id);
    return record ? std::optional(record->commit) : std::nullopt;
}

bool VerifiedLayers::goes_with(const Digest& diff_id, bool moved_var) const {
    const auto record = find(LayerKind::derived, diff_id);
    return record && record->var == var_text(moved_var);
}

bool VerifiedLayers::goes_with_blob(const Digest& diff_id, const Digest& blob) const {
    const auto record = find(LayerKind::derived, diff_id);
    return record && record->blob == blob.checksum();
}

bool VerifiedLayers::is_of_unseen_blob(const ImageLayer& layer, const Checksum& commit) const {
    const auto record = find(layer.kind, layer.diff_id);
    return record && record->commit == commit && record->blob != layer.blob.digest.checksum();
}

bool VerifiedLayers::has_image(const Digest& manifest, const Checksum& merge) const {
    return find(image_kind, image_key(manifest.checksum(), merge)).has_value();
}

void VerifiedLayers::add_layer(const ImageLayer& layer, const Checksum& commit, bool moved_var, bool blob_seen) const {
    const auto blob = blob_seen ? layer.blob.digest.checksum() : no_blob;
    add({.kind = std::string(to_string(layer.kind)),
         .key = layer.diff_id.checksum(),
         .blob = blob,
         .commit = commit,
         .var = layer.kind == LayerKind::derived ? var_text(moved_var) : ""});
}

void VerifiedLayers::add_image(const Digest& manifest, const Checksum& merge) const {
    add({.kind = image_kind,
         .key = image_key(manifest.checksum(), merge),
         .blob = manifest.checksum(),
         .commit = merge,
         .var = ""});
}

void VerifiedLayers::add(const Record& record) const {
    const auto directory = make_records(repository_, layers_directory);
    // Then it is fetched again.
    if (!directory) return;
    const auto text = serialise(record);
    const auto name = record.key.hex() + "." + record.kind;
    if (read_record(directory.get(), name, max_bytes) != text) write_record(directory.get(), name, text);
}

void VerifiedLayers::visit(const std::function<void(const std::string&, const std::optional<Record>&)>& visitor) const {
    visit_directory(open_records(repository_, layers_directory), layers_directory, [&](const DirectoryEntry& entry) {
        const std::string name = entry.name;
        const auto key = Checksum::from_hex(std::string_view(name).substr(0, hex_digits));
        const bool named = key && name.size() > hex_digits && name[hex_digits] == '.';
        std::optional<std::string> text;
        try {
            if (named) text = read_record(entry.directory, name, max_bytes);
        } catch (const Error&) {
            return;
        }
        visitor(name, text ? parse(*text, name.substr(hex_digits + 1), *key) : std::nullopt);
    });
}

std::map<Checksum, std::vector<VerifiedLayers::Content>> VerifiedLayers::contents_of(
    const std::set<Checksum>& commits) const {
    std::map<Checksum, std::vector<Content>> contents;
    if (commits.empty()) return contents;
    visit([&](const std::string&, const std::optional<Record>& record) {
        if (!record || record->kind == image_kind) return;
        if (commits.contains(record->commit))
            contents[record->commit].push_back({Digest(record->key), Digest(record->blob)});
    });
    return contents;
}

bool VerifiedLayers::is_other_content(const Checksum& commit, const Digest& diff_id) const {
    const auto contents = contents_of({commit});
    const auto found = contents.find(commit);
    return found != contents.end() && std::none_of(found->second.begin(), found->second.end(),
                                                   [&](const auto& content) { return content.diff_id == diff_id; });
}

std::vector<std::string> VerifiedLayers::stale(const std::function<bool(const Checksum&)>& there) const {
    std::vector<std::string> stale;
    visit([&](const std::string& name, const std::optional<Record>& record) {
        if (!record || !there(record->commit)) stale.push_back(std::string(layers_directory) + "/" + name);
    });
    return stale;
}

}  // namespace imaged
