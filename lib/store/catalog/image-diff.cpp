// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/image-diff.hpp"

#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "store/records/layer-place.hpp"
#include "store/records/pending-update.hpp"
#include "store/records/stored-image.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

using nlohmann::json;

namespace {

// As much of a merged tree's names as an answer may hold.
constexpr std::size_t max_diff_bytes = 4 * 1024 * 1024;
// Deeper than any path may be that somebody can open; bounds the recursion.
constexpr int max_diff_depth = 2048;

struct Side {
    ImageConfig config;
    ImageLayout layout;
};

// Layers of ONE by whether OTHER has them, each once.
void tell_layers(json& answer, const char* having, const char* lacking, const Side& one, const Side& other,
                 const Repository& repository) {
    std::set<Digest> theirs, seen;
    for (const auto& layer : other.layout.layers) theirs.insert(layer.blob.digest);
    for (std::size_t i = 0; i < one.layout.layers.size(); ++i) {
        const auto& layer = one.layout.layers[i];
        if (!seen.insert(layer.blob.digest).second) continue;
        const std::string key = theirs.contains(layer.blob.digest) ? having : lacking;
        if (key.empty()) continue;
        json entry{{"digest", layer.blob.digest.text()},
                   {"size", layer.blob.size},
                   {"kind", to_string(layer.kind)},
                   {"present", layer_commit(repository, layer).has_value()}};
        if (const auto& created_by = one.config.created_by[i]) entry["created-by"] = *created_by;
        auto& bytes = answer["bytes-" + key];
        bytes = bytes.get<std::uint64_t>() + layer.blob.size;
        answer["layers-" + key].push_back(std::move(entry));
    }
}

json compare_layers(const Side& from, const Side& to, const Repository& repository) {
    json answer;
    for (const char* key : {"added", "removed", "kept"}) {
        answer[std::string("layers-") + key] = json::array();
        answer[std::string("bytes-") + key] = std::uint64_t{0};
    }
    tell_layers(answer, "kept", "added", to, from, repository);
    tell_layers(answer, "", "removed", from, to, repository);
    return answer;
}

// Two trees side by side; what they share is not looked at.
class FileComparison {
public:
    explicit FileComparison(const Repository& repository) : repository_(repository) {}

    void compare(const std::string& path, const Checksum& from, const Checksum& to, int depth = 0) {
        if (too_deep(depth)) return;
        const auto before = entries(from), after = entries(to);
        for (const auto& [name, entry] : before) {
            if (full()) return;
            const auto below = path + "/" + name;
            const auto found = after.find(name);
            if (found == after.end()) {
                add_all(removed_, below, entry);
            } else if (found->second.directory != entry.directory) {
                add(changed_, below);
                if (entry.directory) add_below(removed_, below, entry.object);
                if (found->second.directory) add_below(added_, below, found->second.object);
            } else if (!entry.directory) {
                if (entry.object != found->second.object) add(changed_, below);
            } else {
                if (entry.meta != found->second.meta) add(changed_, below);
                if (entry.object != found->second.object) compare(below, entry.object, found->second.object, depth + 1);
            }
        }
        for (const auto& [name, entry] : after) {
            if (full()) return;
            if (!before.contains(name)) add_all(added_, path + "/" + name, entry);
        }
    }

    void tell(json& answer) && {
        answer["files-added"] = std::move(added_);
        answer["files-removed"] = std::move(removed_);
        answer["files-changed"] = std::move(changed_);
        answer["truncated"] = truncated_;
    }

private:
    Directory entries(const Checksum& tree) const {
        return parse_directory(repository_.require_metadata(ObjectType::dirtree, tree));
    }

    bool full() const { return truncated_; }
    bool too_deep(int depth) {
        if (depth > max_diff_depth) truncated_ = true;
        return truncated_;
    }
    void add(std::vector<std::string>& list, const std::string& path) {
        if (paths_ == max_diff_paths || bytes_ + path.size() > max_diff_bytes) {
            truncated_ = true;
            return;
        }
        ++paths_;
        bytes_ += path.size();
        list.push_back(path);
    }
    void add_all(std::vector<std::string>& list, const std::string& path, const TreeEntry& entry, int depth = 0) {
        add(list, path);
        if (entry.directory) add_below(list, path, entry.object, depth);
    }
    void add_below(std::vector<std::string>& list, const std::string& path, const Checksum& tree, int depth = 0) {
        if (too_deep(depth)) return;
        for (const auto& [name, entry] : entries(tree)) {
            if (full()) return;
            add_all(list, path + "/" + name, entry, depth + 1);
        }
    }

    const Repository& repository_;
    std::vector<std::string> added_, removed_, changed_;
    std::size_t paths_ = 0, bytes_ = 0;
    bool truncated_ = false;
};

}  // namespace

json diff_images(const Repository& repository, const ImageReference& from, const std::optional<ImageReference>& to,
                 bool files) {
    const auto before = StoredImage::find(repository, from);
    json answer;
    if (to) {
        const auto after = StoredImage::find(repository, *to);
        answer = compare_layers({before.config, before.layout}, {after.config, after.layout}, repository);
        answer["to"] = to->image();
        answer["to-digest"] = after.digest.text();
        if (const auto version = after.config.version()) answer["to-version"] = *version;
        if (files) {
            FileComparison comparison(repository);
            comparison.compare("", before.tree, after.tree);
            std::move(comparison).tell(answer);
        }
    } else {
        if (files)
            throw Error(ErrorKind::invalid_argument,
                        "option \"files\": the files of an update are known only when it is pulled");
        const auto update = PendingUpdate::load(repository, before.merge_commit, from.image());
        if (!update)
            throw Error(ErrorKind::not_found, "no update of " + from.image() + " is known; Check looks for one");
        const auto manifest = Manifest::parse(update->manifest_text);
        const auto config = ImageConfig::parse(update->config_text);
        answer =
            compare_layers({before.config, before.layout}, {config, ImageLayout::of(manifest, config)}, repository);
        answer["to-digest"] = update->digest.text();
        if (const auto version = config.version()) answer["to-version"] = *version;
    }
    answer["from"] = from.image();
    answer["from-digest"] = before.digest.text();
    answer["pending"] = !to.has_value();
    if (const auto version = before.config.version()) answer["from-version"] = *version;
    return answer;
}

}  // namespace imaged
