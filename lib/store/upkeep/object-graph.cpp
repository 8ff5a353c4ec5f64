// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/object-graph.hpp"

#include <algorithm>
#include <map>

namespace imaged {

ObjectGraph::ObjectGraph(ObjectFacts facts, bool has_parent) {
    add_objects(facts);
    add_shared_files(facts);
    for (unsigned i = 0; i < object_directories; ++i) {
        add_names(facts.of(i), has_parent);
        facts.forget(i);
    }
    // A node that is no object names nothing.
    first_.resize(bytes_.size() + 1, below_.size());
    std::sort(commits_.begin(), commits_.end());
}

void ObjectGraph::add_objects(const ObjectFacts& facts) {
    std::size_t objects = 0, named = 0;
    for (unsigned i = 0; i < object_directories; ++i) {
        objects += facts.of(i).objects.size();
        named += facts.of(i).named.size();
    }
    keys_.reserve(objects);
    bytes_.reserve(objects);
    first_.reserve(objects + 1);
    below_.reserve(named);
    for (unsigned i = 0; i < object_directories; ++i) {
        const auto& directory = facts.of(i);
        for (const auto& object : directory.objects) {
            keys_.push_back(object.key);
            bytes_.push_back(object.bytes);
            broken_.push_back(object.broken);
            from_image_.push_back(object.from_image);
        }
        commits_.insert(commits_.end(), directory.commits.begin(), directory.commits.end());
        directory_[i + 1] = keys_.size();
    }
}

void ObjectGraph::add_shared_files(const ObjectFacts& facts) {
    struct File {
        Node node;
        nlink_t elsewhere;  // links that were not found among the objects
    };
    std::map<std::pair<dev_t, ino_t>, File> files;
    for (unsigned i = 0; i < object_directories; ++i) {
        for (const auto& link : facts.of(i).links) {
            const auto next = static_cast<Node>(bytes_.size());
            const auto [file, is_new] = files.try_emplace(link.file, File{next, link.links});
            if (is_new) bytes_.push_back(link.bytes);
            --file->second.elsewhere;
            if (const auto node = find(link.key)) shared_files_.emplace_back(*node, file->second.node);
        }
    }
    std::sort(shared_files_.begin(), shared_files_.end());
    broken_.resize(bytes_.size());
    from_image_.resize(bytes_.size());
    linked_elsewhere_.resize(bytes_.size());
    for (const auto& [place, file] : files) linked_elsewhere_[file.node] = file.elsewhere > 0;
}

void ObjectGraph::add_names(const DirectoryFacts& facts, bool has_parent) {
    for (const auto& object : facts.objects) {
        const auto node = static_cast<Node>(first_.size());
        first_.push_back(below_.size());
        for (std::size_t i = object.first; i < object.first + object.count; ++i) {
            const auto key = facts.named[i];
            if (const auto found = find(key))
                below_.push_back(*found);
            else if (key.kind() == ObjectKind::dirtree && !has_parent)
                broken_[node] = true;
        }
        const auto file = std::lower_bound(shared_files_.begin(), shared_files_.end(), std::pair(node, Node{0}));
        if (file != shared_files_.end() && file->first == node) below_.push_back(file->second);
    }
}

// Keys are spread evenly, as checksums are, so the place of one is near where its share of the directory ends. The
// search widens from there, so that keys of somebody's choice cost no more than a search by halves.
std::optional<ObjectGraph::Node> ObjectGraph::find(ObjectKey key) const {
    const auto first = directory_[key.directory()], size = directory_[key.directory() + 1] - first;
    const auto* const keys = keys_.data() + first;
    constexpr std::uint64_t shares = std::uint64_t{1} << 32;
    const auto guess = static_cast<std::size_t>((key.value() >> 24) % shares * size / shares);
    std::size_t low = 0, high = size;
    for (std::size_t step = 8; step < size; step *= 4) {
        low = guess > step ? guess - step : 0;
        high = std::min(size, guess + step);
        if ((low == 0 || keys[low] <= key) && (high == size || key < keys[high])) break;
        low = 0;
        high = size;
    }
    const auto* const found = std::lower_bound(keys + low, keys + high, key);
    if (found == keys + size || *found != key) return std::nullopt;
    return static_cast<Node>(first + static_cast<std::size_t>(found - keys));
}

}  // namespace imaged
