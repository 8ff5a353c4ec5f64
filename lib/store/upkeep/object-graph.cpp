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

std::optional<ObjectGraph::Node> ObjectGraph::find(ObjectKey key) const {
    const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(directory_[key.directory()]),
               end = keys_.begin() + static_cast<std::ptrdiff_t>(directory_[key.directory() + 1]);
    const auto found = std::lower_bound(begin, end, key);
    if (found == end || *found != key) return std::nullopt;
    return static_cast<Node>(found - keys_.begin());
}

}  // namespace imaged
