// SPDX-License-Identifier: Apache-2.0
#include "layer/object-layer.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.hpp"
#include "layer/derived-layer.hpp"
#include "layer/dirtree.hpp"
#include "layer/storable-xattrs.hpp"

namespace imaged {

namespace {

// Distinct sets of attributes in one layer; there are a handful in practice.
constexpr std::size_t max_xattr_sets_bytes = 8 * 1024 * 1024;
constexpr std::size_t max_commit_metadata_bytes = 10 * 1024 * 1024;

[[noreturn]] void corrupt(const std::string& what) {
    throw Error(ErrorKind::corrupt_input, what);
}

std::string read_object(TarReader& tar, const TarEntry& entry, std::size_t limit) {
    if (entry.size > limit) corrupt("larger than the limit of " + std::to_string(limit) + " bytes");
    std::string content;
    for (auto piece = tar.content(); !piece.empty(); piece = tar.content()) {
        if (content.size() + piece.size() > entry.size) corrupt("more bytes than its header says");
        content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    }
    return content;
}

class ObjectReader {
public:
    ObjectReader(TarReader& tar, ObjectSink& sink, bool wants_commit, const SinkOfFile& sink_of_file)
        : tar_(tar), sink_(sink), wants_commit_(wants_commit), sink_of_file_(sink_of_file) {}

    ObjectLayer read() {
        while (auto entry = tar_.next()) {
            if (entry->type == EntryType::directory) continue;
            if (const auto name = object_in_layer(entry->path))
                in_context("object " + name->checksum.hex() + "." + name->type, [&] { take(*name, *entry); });
        }
        if (wants_commit_ && !layer_.commit) corrupt("the commit layer has no commit");
        std::sort(layer_.files.begin(), layer_.files.end());
        layer_.files.erase(std::unique(layer_.files.begin(), layer_.files.end()), layer_.files.end());
        return std::move(layer_);
    }

private:
    void take(const LayerObject& name, TarEntry& entry) {
        if (name.type == "file-xattrs-link") {
            take_xattrs_link(name, entry);
        } else if (name.type == "file") {
            take_file(name, entry);
        } else if (entry.type != EntryType::file) {
            corrupt("not a regular file");
        } else if (name.type == "file-xattrs") {
            take_xattrs(name, entry);
        } else if (name.type == "commit") {
            if (!wants_commit_) corrupt("a commit in a chunk layer");
            if (layer_.commit && *layer_.commit != name.checksum) corrupt("a second commit");
            put_metadata(ObjectType::commit, "(a{sv}aya(say)sstayay)", name, entry);
            layer_.commit = name.checksum;
        } else if (name.type == "dirtree") {
            const auto bytes = put_metadata(ObjectType::dirtree, "(a(say)a(sayay))", name, entry);
            check_dirtree(bytes);
        } else if (name.type == "dirmeta") {
            require_storable(parse_dirmeta(put_metadata(ObjectType::dirmeta, "(uuua(ayay))", name, entry)).xattrs);
        } else if (name.type == "commitmeta") {
            layer_.commit_metadata = read_object(tar_, entry, max_commit_metadata_bytes);
        }
    }

    std::string put_metadata(ObjectType type, const char* format, const LayerObject& name, const TarEntry& entry) {
        auto bytes = read_object(tar_, entry, max_metadata_bytes);
        if (sha256(bytes) != name.checksum) corrupt("its content has another checksum");
        const auto variant = parse_variant(G_VARIANT_TYPE(format), bytes);
        if (g_variant_is_normal_form(variant.get()) == FALSE) corrupt("not in normal form");
        sink_.put_metadata(type, bytes);
        return bytes;
    }

    // What is reachable from the commit must be safe to check out.
    void check_dirtree(const std::string& bytes) {
        try {
            parse_dirtree(bytes);
        } catch (const Error& error) {
            corrupt(error.what());
        }
    }

    void take_xattrs(const LayerObject& name, const TarEntry& entry) {
        xattrs_bytes_ += entry.size;
        if (entry.size > max_xattrs_bytes || xattrs_bytes_ > max_xattr_sets_bytes)
            corrupt("more extended attributes than the limit");
        const auto bytes = read_object(tar_, entry, max_xattrs_bytes);
        if (sha256(bytes) != name.checksum) corrupt("its content has another checksum");
        xattr_sets_[name.checksum] = storable(bytes);
    }

    static Xattrs storable(std::string_view bytes) {
        auto xattrs = parse_xattrs(bytes);
        require_storable(xattrs);
        return xattrs;
    }

    void take_xattrs_link(const LayerObject& name, const TarEntry& entry) {
        if (entry.type == EntryType::file) {
            // Written out instead of linked.
            const auto bytes = read_object(tar_, entry, max_xattrs_bytes);
            xattrs_of_[name.checksum] = storable(bytes);
            return;
        }
        const auto target = entry.type == EntryType::hardlink ? object_in_layer(entry.link) : std::nullopt;
        if (!target || target->type != "file-xattrs") corrupt("it does not lead to extended attributes");
        const auto found = xattr_sets_.find(target->checksum);
        if (found == xattr_sets_.end()) corrupt("it leads to extended attributes that did not come before it");
        xattrs_of_[name.checksum] = found->second;
    }

    void take_file(const LayerObject& name, const TarEntry& entry) {
        Xattrs xattrs;
        if (const auto found = xattrs_of_.find(name.checksum); found != xattrs_of_.end()) {
            xattrs = found->second;
            xattrs_of_.erase(found);
        }
        const FileMeta meta{entry.uid, entry.gid, S_IFREG | entry.mode, xattrs};
        auto& sink = sink_of_file_ && !gives_rights(meta) ? sink_of_file_(entry.size) : sink_;
        Checksum written;
        if (entry.type == EntryType::file) {
            written = put_content(tar_, entry, meta, sink);
        } else if (entry.type == EntryType::symlink) {
            if (!entry.target_utf8) corrupt("the target of the symbolic link is not UTF-8");
            written = sink.put_symlink({entry.uid, entry.gid, S_IFLNK | 0777, xattrs}, entry.target);
        } else {
            corrupt("neither a regular file nor a symbolic link");
        }
        if (written != name.checksum) corrupt("its content and metadata have the checksum " + written.hex());
        layer_.files.push_back(name.checksum);
    }

    TarReader& tar_;
    ObjectSink& sink_;
    const bool wants_commit_;
    const SinkOfFile& sink_of_file_;
    ObjectLayer layer_;
    std::unordered_map<Checksum, Xattrs> xattr_sets_;  // by their own checksum
    std::unordered_map<Checksum, Xattrs> xattrs_of_;   // by the file's checksum, until the file comes
    std::size_t xattrs_bytes_ = 0;
};

}  // namespace

std::optional<LayerObject> object_in_layer(const Path& path) {
    static const Path repository{"sysroot", "ostree", "repo"};
    if (path.size() < 5 || !std::equal(repository.begin(), repository.end(), path.begin())) return std::nullopt;
    std::string hex, type;
    if (path[3] == "xattrs" && path.size() == 5) {
        hex = path[4];
        type = "file-xattrs";
    } else if (path[3] == "objects" && path.size() == 6) {
        const auto dot = path[5].find('.');
        if (dot == std::string::npos) return std::nullopt;
        hex = path[4] + path[5].substr(0, dot);
        type = path[5].substr(dot + 1);
        if (type == "file.xattrs") type = "file-xattrs-link";
    } else {
        return std::nullopt;
    }
    const auto checksum = Checksum::from_hex(hex);
    if (!checksum) corrupt("object " + join_path(path) + " is not named by a checksum");
    return LayerObject{*checksum, type};
}

ObjectLayer read_object_layer(TarReader& tar, ObjectSink& sink, bool wants_commit, const SinkOfFile& sink_of_file) {
    return ObjectReader(tar, sink, wants_commit, sink_of_file).read();
}

CommitHead read_commit_head(TarReader& tar) {
    std::optional<CommitHead> head;
    std::optional<std::string> metadata;
    while (auto entry = tar.next()) {
        if (entry->type != EntryType::file) continue;
        const auto name = object_in_layer(entry->path);
        if (!name) continue;
        in_context("object " + name->checksum.hex() + "." + name->type, [&] {
            if (name->type == "commit") {
                if (head) corrupt("a second commit");
                auto bytes = read_object(tar, *entry, max_metadata_bytes);
                if (sha256(bytes) != name->checksum) corrupt("its content has another checksum");
                head = CommitHead{name->checksum, std::move(bytes), {}};
            } else if (name->type == "commitmeta") {
                metadata = read_object(tar, *entry, max_commit_metadata_bytes);
            }
        });
        if (head && metadata) break;
    }
    if (!head) corrupt("the commit layer has no commit");
    head->metadata = std::move(metadata);
    return *std::move(head);
}

}  // namespace imaged
