// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/image-catalog.hpp"

#include <malloc.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/file-stamp.hpp"
#include "base/hex-byte.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "base/system-failure.hpp"
#include "layer/object-placement.hpp"
#include "store/catalog/image-diff.hpp"
#include "store/catalog/known-entries.hpp"
#include "store/files/ref-listing.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/damage-record.hpp"
#include "store/records/image-sources.hpp"
#include "store/records/kept-versions.hpp"
#include "store/records/layer-names.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/pending-update.hpp"
#include "store/records/ref-state.hpp"
#include "store/records/signature-rules.hpp"
#include "store/records/stored-image.hpp"
#include "store/records/usage-record.hpp"
#include "store/repository/moved-repository.hpp"

namespace imaged {

using nlohmann::json;

namespace {

// Text that an image says of itself, in every list of images: some images must not make the list too long for the bus.
constexpr std::size_t max_claim_bytes = 256;

std::string limited(std::string text) {
    return shortened(std::move(text), max_claim_bytes);
}

json summary(const std::string& name, const StoredImage& image) {
    std::uint64_t size = 0;
    for (const auto& layer : image.manifest.layers) size += layer.size;
    json entry{{"image", name},
               {"state", "ok"},
               {"digest", image.digest.text()},
               {"commit", image.deployable().hex()},
               {"merge-commit", image.merge_commit.hex()},
               {"created", image.created},
               {"layers", image.manifest.layers.size()},
               {"size", size},
               {"image-id", image.manifest.config.digest.text()}};
    if (image.config.architecture) entry["architecture"] = limited(*image.config.architecture);
    if (image.config.os) entry["os"] = limited(*image.config.os);
    if (image.base_commit) entry["base-commit"] = image.base_commit->hex();
    if (const auto version = image.config.version()) entry["version"] = limited(*version);
    return entry;
}

// TEXT in JSON, with its quotation marks.
std::string json_string(const std::string& text) {
    const auto is_plain = [](char c) { return c >= ' ' && c < '\x7f' && c != '"' && c != '\\'; };
    return std::all_of(text.begin(), text.end(), is_plain) ? '"' + text + '"' : json_text(json(text));
}

// Adds a member to OBJECT, the text of an object that has one and is not closed.
void add_member(std::string& object, const char* key, const std::string& value) {
    object.append(",\"").append(key).append("\":").append(value);
}

class RepositoryCatalog final : public ImageCatalog {
public:
    explicit RepositoryCatalog(Repository repository) : repository_(std::move(repository)) {}

    bool is_current() const override {
        return is_in_place(repository_) && FileStamp::of(repository_.fd(), "config") == config_stamp_;
    }

    std::string manifest(const ImageReference& image) override {
        return StoredImage::find(repository_, image).manifest_text;
    }
    std::string config(const ImageReference& image) override {
        return StoredImage::find(repository_, image).config_text;
    }
    json diff(const ImageReference& from, const std::optional<ImageReference>& to, bool files) override {
        return diff_images(repository_, from, to, files);
    }

    std::shared_ptr<const std::string> list() override {
        // Each looks again, whatever another found.
        stale_ |= refresh_objects();
        refs_.refresh();
        for (auto& listing : layers_) {
            stale_ |= listing.refresh();
            layers_lost_ |= listing.lost_any();
        }
        refresh_records();
        try {
            take_refs();
            // Damage is looked at again each time: it may have been repaired.
            if (listing_ && !stale_ && !any_damaged_) return listing_;
            write_listing();
        } catch (...) {
            // Some lines may be in one text and some in the other.
            lines_.clear();
            listing_ = nullptr;
            throw;
        }
        return listing_;
    }

    json describe(const ImageReference& reference) override {
        const auto image = StoredImage::find(repository_, reference);
        auto description = summary(reference.image(), image);
        auto layers = json::array();
        for (std::size_t i = 0; i < image.layout.layers.size(); ++i) {
            const auto& layer = image.layout.layers[i];
            const auto ref = ref_of_layer(repository_, layer);
            json entry{{"digest", layer.blob.digest.text()},
                       {"size", layer.blob.size},
                       {"kind", to_string(layer.kind)},
                       {"ref", ref}};
            if (const auto commit = repository_.resolve(ref).commit)
                entry["commit"] = commit->hex();
            else {
                description["state"] = "damaged";
                description["error"] = "layer " + ref + " is missing";
            }
            if (const auto& created_by = image.config.created_by[i]) entry["created-by"] = *created_by;
            layers.push_back(std::move(entry));
        }
        refs_.refresh();
        refresh_records();
        tell_damage(description);
        tell_source(description);
        tell_rule(description);
        tell_size(description);
        for (const auto& version : find_kept_versions(repository_, image_ref(reference)).whole)
            description["kept"].push_back(version_of(summary(reference.image(), version.image)));
        description["layer-list"] = std::move(layers);
        if (const auto update = waiting_updates(image.merge_commit).of(reference.image()))
            description["update-digest"] = *update;
        description["labels"] = image.config.labels;
        description["filtered"] = image.filtered;
        description["importer"] = image.importer;
        return description;
    }

private:
    struct Cached {
        // Its text is JSON, without the image's name and the last brace.
        KnownEntry known;
        bool sound = false;
        bool may_be_kept = false;                // in known-entries.hpp
        bool has_layers = false;                 // all, when they were looked for last
        std::unique_ptr<UpdateDigests> updates;  // that wait; null for none
        FileStamp stamp = {};                    // of the detached metadata, which may change under a commit
    };

    // The name of an image, or, if true, a ref that is no image's.
    using Key = std::pair<std::string, bool>;
    // An image in the listing. The listing has its text: that of what is known of its commit, then the rest.
    struct Line {
        std::optional<Checksum> commit;  // nullopt of a ref that is broken or cannot be read
        Cached cached;                   // its text is empty if it is in the listing
        std::size_t begin = 0, known_size = 0, size = 0;
        bool written = false;  // its text is as it is to be
    };

    // By image and number, the merge commits of kept versions.
    using Kept = std::map<std::string, std::map<std::uint64_t, Checksum, std::greater<>>>;

    Kept kept_by_image() {
        Kept kept;
        for (const auto& [ref, commit] : refs_.kept().refs()) {
            const auto parsed = parse_kept_ref(ref);
            if (!parsed || !commit) continue;
            const auto name = unescape_ref(std::string_view(parsed->first).substr(image_ref_prefix.size()));
            if (name) kept[*name].emplace(parsed->second, *commit);
        }
        return kept;
    }

    static json version_of(const json& entry) {
        json version{{"digest", entry.at("digest")}, {"commit", entry.at("commit")}};
        if (const auto found = entry.find("version"); found != entry.end()) version["version"] = *found;
        return version;
    }

    // As kept_versions() has them, of what is known of their commits, beside an image of DIGEST.
    json versions(const std::string& digest, const Kept::mapped_type& kept) {
        auto versions = json::array();
        std::set<std::string> seen{digest};
        for (const auto& [number, commit] : kept) {
            auto& known = kept_commits_[commit];
            if (!known.sound) known = look_at("", commit);
            any_damaged_ |= !known.sound;
            const auto version = parse_json(known.known.text + "}");
            if (version.contains("digest") && seen.insert(version["digest"].get<std::string>()).second)
                versions.push_back(version_of(version));
        }
        return versions;
    }

    static Key key_of(const std::string& ref) {
        auto name = image_of_ref(ref);
        const bool is_ref = name == ref;
        return {std::move(name), is_ref};
    }
    static std::string ref_of(const Key& key) {
        return key.second ? key.first : std::string(image_ref_prefix) + escape_for_ref(key.first);
    }

    void take_ref(const Key& key, const RefTarget& target) {
        if (!target.exists) {
            stale_ |= lines_.erase(key) > 0;
            return;
        }
        auto& line = lines_[key];
        if (target.commit && line.commit == target.commit) return;
        line = {};
        line.commit = target.commit;
        stale_ = true;
    }

    // Takes over which refs there are.
    void take_refs() {
        const auto changes = refs_.images().take_changes();
        if (changes && listing_) {
            for (const auto& ref : *changes) take_ref(key_of(ref), refs_.images().find(ref));
        } else {
            std::erase_if(lines_, [&](const auto& line) { return !refs_.images().find(ref_of(line.first)).exists; });
            refs_.images().visit([&](const std::string& ref, const auto& commit) {
                take_ref(key_of(ref), {true, commit});
            });
            stale_ = true;
        }
        const auto kept_changes = refs_.kept().take_changes();
        if (kept_changes && kept_changes->empty() && listing_) return;
        stale_ = true;
        auto before = std::exchange(kept_, kept_by_image());
        std::set<Checksum> commits;
        for (const auto& [image, kept] : kept_) {
            for (const auto& [number, commit] : kept) commits.insert(commit);
            const auto known = before.find(image);
            if (known == before.end() || known->second != kept) rewrite(image);
            if (known != before.end()) before.erase(known);
        }
        for (const auto& [image, kept] : before) rewrite(image);
        std::erase_if(kept_commits_, [&](const auto& kept) { return !commits.contains(kept.first); });
    }

    void rewrite(const std::string& image) {
        if (const auto line = lines_.find(Key(image, false)); line != lines_.end()) line->second.written = false;
    }

    void write_listing() {
        const bool first = !listing_;
        if (first) kept_entries_ = read_known_entries(repository_.fd());
        any_damaged_ = false;
        std::string text = R"({"images":[)";
        text.reserve(first ? 0 : listing_->size() + listing_->size() / 8);
        for (auto& [key, line] : lines_) {
            if (text.back() == '}') text += ',';
            const auto begin = text.size();
            if (line.written && !rewrite_all_ && !sources_.has_changed(key.first) && !rules_.has_changed(key.first) &&
                has_layers(line.cached))
                text.append(*listing_, line.begin, line.size);
            else
                write(text, key, line);
            line.begin = begin;
            line.size = text.size() - begin;
        }
        text += "]}";
        listing_ = std::make_shared<const std::string>(std::move(text));
        stale_ = layers_lost_ = rewrite_all_ = false;
        sources_.forget();
        rules_.forget();
        kept_entries_.clear();
        keep_entries();
        // What the first list needs for each image is in many small pieces.
        if (first) ::malloc_trim(0);
    }

    // Adds the entry of LINE to TEXT.
    void write(std::string& text, const Key& key, Line& line) {
        const auto& name = key.first;
        line.written = false;
        auto& cached = line.cached;
        if (!line.commit)
            cached = broken(name, ref_of(key));
        else if (!cached.sound)
            cached = look_at(name, *line.commit);
        else if (cached.known.text.empty())
            cached.known.text.assign(*listing_, line.begin, line.known_size);
        const bool any_damaged = std::exchange(any_damaged_, false);
        const auto kept = key.second ? kept_.end() : kept_.find(name);
        if (!line.commit || !is_sound(name, *line.commit, cached)) {
            auto entry = entry_of(name, cached);
            if (kept != kept_.end())
                if (auto found = versions(entry.value("digest", ""), kept->second); !found.empty())
                    entry["kept"] = std::move(found);
            text += json_text(entry);
            any_damaged_ |= any_damaged;
            return;
        }
        add_sound(text, name, *line.commit, cached);
        if (kept != kept_.end()) {
            const auto digest = parse_json(cached.known.text + "}").value("digest", "");
            if (const auto found = versions(digest, kept->second); !found.empty())
                add_member(text, "kept", json_text(found));
        }
        text += '}';
        line.known_size = cached.known.text.size();
        cached.known.text.clear();
        cached.known.text.shrink_to_fit();
        line.written = !std::exchange(any_damaged_, any_damaged_ || any_damaged);
    }

    bool has_layers(Cached& cached) const {
        if (!cached.has_layers || layers_lost_) cached.has_layers = !missing_layer(cached);
        return cached.has_layers;
    }

    // Whether nothing is wrong with the image, as far as it is known.
    bool is_sound(const std::string& name, const Checksum& commit, Cached& cached) {
        return cached.sound && damage_.error_of(name, commit) == nullptr && has_layers(cached);
    }

    // As json_text(entry_of()) of an image with which nothing is wrong, without reading and writing what is known, and
    // without the last brace.
    void add_sound(std::string& text, const std::string& name, const Checksum& commit, const Cached& cached) {
        text += cached.known.text;
        add_member(text, "image", json_string(name));
        if (cached.updates)
            if (const auto update = cached.updates->of(name)) add_member(text, "update-digest", json_string(*update));
        if (const auto* const source = sources_.of(name)) add_member(text, "source", json_string(*source));
        if (const auto* const rule = rules_.of(name, commit))
            add_member(text, "signature-policy", json_string(limited(*rule)));
        if (const auto* const size = size_of(name)) {
            add_member(text, "disk-size", std::to_string(size->bytes));
            add_member(text, "unique-size", std::to_string(size->unique));
            add_member(text, "shared-size", std::to_string(size->bytes - size->unique));
        }
    }

    json entry_of(const std::string& name, const Cached& cached) {
        auto entry = parse_json(cached.known.text + "}");
        entry["image"] = name;
        if (cached.updates)
            if (const auto update = cached.updates->of(name)) entry["update-digest"] = *update;
        if (const auto missing = missing_layer(cached)) {
            entry["state"] = "damaged";
            entry["error"] = "layer " + *missing + " is missing";
        }
        tell_damage(entry);
        tell_source(entry);
        tell_rule(entry);
        tell_size(entry);
        any_damaged_ |= entry["state"] != "ok";
        return entry;
    }

    // Calls READ if the record at PATH is another one than when it had the stamp KNOWN. True if it could be read;
    // otherwise what was known before holds until the next time.
    template <typename Read>
    bool refresh(const char* path, FileStamp& known, Read&& read) const {
        const auto stamp = FileStamp::of(repository_.fd(), path);
        if (stamp == known) return false;
        try {
            read();
        } catch (const Error&) {
            return false;
        }
        known = stamp;
        return true;
    }
    void refresh_records() {
        const int fd = repository_.fd();
        rewrite_all_ |= refresh(DamageRecord::path, damage_stamp_, [&] { damage_ = DamageRecord::read(fd); });
        stale_ |= sources_.refresh();
        stale_ |= rules_.refresh();
        rewrite_all_ |= refresh(UsageRecord::path, sizes_stamp_, [&] { sizes_ = UsageRecord::read(fd); });
        const bool sized = !sizes_.empty() && sizes_.is_of(refs_.value());
        rewrite_all_ |= std::exchange(sized_, sized) != sized;
        stale_ |= rewrite_all_;
    }
    const UsageRecord::Size* size_of(const std::string& image) const {
        return sizes_.empty() ? nullptr : sizes_.size_of(image, refs_.value());
    }

    void tell_size(json& entry) const {
        const auto* const size = size_of(entry["image"].get<std::string>());
        if (size == nullptr) return;
        entry["disk-size"] = size->bytes;
        entry["unique-size"] = size->unique;
        entry["shared-size"] = size->bytes - size->unique;
    }

    void tell_source(json& entry) {
        if (const auto* const source = sources_.of(entry["image"].get<std::string>())) entry["source"] = *source;
    }

    void tell_rule(json& entry) {
        const auto commit = Checksum::from_hex(entry.value("merge-commit", ""));
        const auto* const rule = commit ? rules_.of(entry["image"].get<std::string>(), *commit) : nullptr;
        if (rule != nullptr) entry["signature-policy"] = limited(*rule);
    }

    void tell_damage(json& entry) const {
        if (entry["state"] != "ok") return;
        const auto commit = Checksum::from_hex(entry.value("merge-commit", ""));
        const auto* error = commit ? damage_.error_of(entry["image"].get<std::string>(), *commit) : nullptr;
        if (error == nullptr) return;
        entry["state"] = "damaged";
        entry["error"] = *error;
    }

    // Looks again for the updates that wait for images of COMMIT; true when there are others than before.
    bool refresh_update(const Checksum& commit, Cached& cached) const {
        const auto stamp = stamp_of(commit, PlacedType::commitmeta);
        if (stamp == cached.stamp) return false;
        cached.stamp = stamp;
        auto updates = waiting_updates(commit);
        const UpdateDigests none;
        if (updates == (cached.updates ? *cached.updates : none)) return false;
        cached.updates = updates == none ? nullptr : std::make_unique<UpdateDigests>(std::move(updates));
        return true;
    }

    UpdateDigests waiting_updates(const Checksum& commit) const {
        try {
            return UpdateDigests::load(repository_, commit);
        } catch (const Error&) {
            // Detached metadata that cannot be read announces nothing, and takes nothing from the image.
            return {};
        }
    }

    FileStamp stamp_of(const Checksum& commit, PlacedType type) const {
        return FileStamp::of(repository_.objects(), object_path(commit, type));
    }

    bool may_have_changed(DirectoryStamp& directory, std::size_t number) const {
        try {
            return directory.refresh(repository_.objects(), hex_byte(static_cast<unsigned char>(number)));
        } catch (const Error&) {
            return true;
        }
    }

    // Objects are removed, and detached metadata is replaced as a whole, which shows in their directories.
    bool refresh_objects() {
        std::array<bool, 256> may_differ{};
        for (std::size_t i = 0; i < may_differ.size(); ++i) may_differ[i] = may_have_changed(object_directories_[i], i);
        const auto differs = [&](const Checksum& commit, const KnownEntry& known) {
            return (may_differ[commit.bytes.front()] && stamp_of(commit, PlacedType::commit) != known.stamp) ||
                   (may_differ[known.tree.bytes.front()] && !repository_.has_object(ObjectType::dirtree, known.tree));
        };
        bool changed = false;
        for (auto& [key, line] : lines_) {
            auto& cached = line.cached;
            if (!line.commit || !cached.sound) continue;
            if (differs(*line.commit, cached.known))
                cached = {};  // it is looked at again
            else if (!may_differ[line.commit->bytes.front()] || !refresh_update(*line.commit, cached))
                continue;
            line.written = false;
            changed = true;
        }
        std::set<Checksum> lost;
        for (auto& [commit, cached] : kept_commits_) {
            if (!cached.sound || !differs(commit, cached.known)) continue;
            cached = {};
            lost.insert(commit);
        }
        if (lost.empty()) return changed;
        for (const auto& [image, kept] : kept_) {
            for (const auto& [number, commit] : kept) {
                if (lost.contains(commit)) rewrite(image);
            }
        }
        return true;
    }

    std::optional<std::string> missing_layer(const Cached& cached) const {
        const auto& [blobs, derived, objects] = layers_;
        for (const auto& layer : cached.known.layers) {
            if (blobs.contains(layer.blob)) continue;
            if (!(layer.kind == LayerKind::derived ? derived : objects).contains(layer.blob))
                return layer_ref(Digest(layer.blob));
        }
        return std::nullopt;
    }

    // Of an image whose REF named no commit when it was listed.
    Cached broken(const std::string& name, const std::string& ref) {
        try {
            const auto commit = repository_.resolve(ref).commit;
            return commit ? look_at(name, *commit) : damaged_entry(name, StoredImage::broken_ref);
        } catch (const Error& error) {
            if (is_shortage(error)) throw;
            return damaged_entry(name, error.what());
        }
    }

    static Cached damaged_entry(const std::string& name, const std::string& why) {
        return {{open_entry({{"image", name}, {"state", "damaged"}, {"error", why}}), {}, {}, {}}};
    }

    // The text of ENTRY without the image's name and the last brace.
    static std::string open_entry(json entry) {
        entry.erase("image");
        auto text = json_text(entry);
        text.pop_back();
        return text;
    }

    Cached look_at(const std::string& name, const Checksum& commit) {
        try {
            // Before the commit is read.
            const auto stamp = stamp_of(commit, PlacedType::commit);
            if (const auto kept = kept_entries_.find(commit);
                kept != kept_entries_.end() && kept->second.stamp == stamp &&
                repository_.has_object(ObjectType::dirtree, kept->second.tree)) {
                Cached cached{kept->second, true, true};
                refresh_update(commit, cached);
                return cached;
            }
            const auto image = StoredImage::load(repository_, commit);
            if (!repository_.has_object(ObjectType::dirtree, image.tree))
                return damaged_entry(name, "merge commit " + commit.hex() + ": the root of its tree is missing");
            Cached cached{{open_entry(summary(name, image)), image.tree, stamp, {}}, true};
            cached.may_be_kept = (!image.layout.ostree || image.base_is_parent) && stamp != FileStamp();
            cached.known.layers.reserve(image.layout.layers.size());
            for (const auto& layer : image.layout.layers)
                cached.known.layers.push_back({layer.blob.digest.checksum(), layer.kind});
            if (cached.may_be_kept) ++unkept_;
            refresh_update(commit, cached);
            return cached;
        } catch (const Error& error) {
            if (is_shortage(error)) throw;
            return damaged_entry(name, error.what());
        }
    }

    // When so many are not in the file that reading them again would take longer than it does.
    void keep_entries() {
        if (unkept_ < 64 || unkept_ < lines_.size() / 16) return;
        unkept_ = 0;
        std::vector<KnownText> entries;
        for (const auto& [key, line] : lines_) {
            const auto& known = line.cached.known;
            const auto text = known.text.empty() ? std::string_view(*listing_).substr(line.begin, line.known_size)
                                                 : std::string_view(known.text);
            if (line.cached.may_be_kept && line.commit) entries.push_back({*line.commit, &known, text});
        }
        for (const auto& [commit, cached] : kept_commits_)
            if (cached.may_be_kept) entries.push_back({commit, &cached.known, cached.known.text});
        write_known_entries(repository_.fd(), entries);
        ::malloc_trim(0);
    }

    Repository repository_;
    const FileStamp config_stamp_ = FileStamp::of(repository_.fd(), "config");
    RefState refs_{repository_};
    std::array<LayerNames, 3> layers_{{{repository_.fd(), layer_ref_directory},
                                       {repository_.fd(), derived_ref_directory},
                                       {repository_.fd(), objects_ref_directory}}};
    std::array<DirectoryStamp, 256> object_directories_;  // of objects/00 to objects/ff
    std::map<Key, Line> lines_;                           // of listing_, in its order
    Kept kept_;
    std::unordered_map<Checksum, Cached> kept_commits_;  // of kept_
    KnownEntries kept_entries_;                          // during the first list
    std::size_t unkept_ = 0;                             // entries that were made since they were kept last
    bool layers_lost_ = false;                           // since listing_ was made
    std::shared_ptr<const std::string> listing_;
    bool any_damaged_ = false;
    bool stale_ = true;         // something changed since listing_ was made
    bool rewrite_all_ = false;  // likewise, of all images
    bool sized_ = false;        // sizes_ counts
    DamageRecord damage_;
    FileStamp damage_stamp_{};
    ImageSources sources_{repository_.fd()};
    SignatureRules rules_{repository_.fd()};
    UsageRecord sizes_;
    FileStamp sizes_stamp_{};
};

}  // namespace

std::unique_ptr<ImageCatalog> ImageCatalog::open_existing(const std::string& path) {
    auto repository = Repository::open_existing(path);
    return repository ? std::make_unique<RepositoryCatalog>(std::move(*repository)) : nullptr;
}

}  // namespace imaged
