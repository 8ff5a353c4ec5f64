// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/image-diff.hpp"

#include <set>
#include <string>

#include "base/error.hpp"
#include "base/json.hpp"
#include "store/catalog/file-comparison.hpp"
#include "store/records/layer-ref.hpp"
#include "store/records/pending-update.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

using nlohmann::json;

namespace {

struct Compared {
    ImageConfig config;
    ImageLayout layout;
};

// The names of the lists that a layer goes to, if it goes to any, by whether the other image has it.
struct Lists {
    std::optional<std::string> having, lacking;
};

// Layers of ONE by whether OTHER has them, each once.
void tell_layers(json& answer, const Lists& lists, const Compared& one, const Compared& other,
                 const Repository& repository) {
    std::set<Digest> theirs, seen;
    for (const auto& layer : other.layout.layers) theirs.insert(layer.blob.digest);
    for (std::size_t i = 0; i < one.layout.layers.size(); ++i) {
        const auto& layer = one.layout.layers[i];
        if (!seen.insert(layer.blob.digest).second) continue;
        const auto& key = theirs.contains(layer.blob.digest) ? lists.having : lists.lacking;
        if (!key) continue;
        json entry{{"digest", layer.blob.digest.text()},
                   {"size", layer.blob.size},
                   {"kind", to_string(layer.kind)},
                   {"present", layer_target(repository, layer).exists}};
        if (const auto& created_by = one.config.created_by[i]) entry["created-by"] = *created_by;
        auto& bytes = answer["bytes-" + *key];
        bytes = bytes.get<std::uint64_t>() + layer.blob.size;
        answer["layers-" + *key].push_back(std::move(entry));
    }
}

json compare_layers(const Compared& from, const Compared& to, const Repository& repository) {
    json answer;
    for (const char* key : {"added", "removed", "kept"}) {
        answer[std::string("layers-") + key] = json::array();
        answer[std::string("bytes-") + key] = std::uint64_t{0};
    }
    tell_layers(answer, {.having = "kept", .lacking = "added"}, to, from, repository);
    tell_layers(answer, {.having = std::nullopt, .lacking = "removed"}, from, to, repository);
    return answer;
}

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
            auto changes = compare_files(repository, "", before.tree, after.tree);
            answer["files-added"] = std::move(changes.added);
            answer["files-removed"] = std::move(changes.removed);
            answer["files-changed"] = std::move(changes.changed);
            answer["truncated"] = changes.truncated;
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
