// SPDX-License-Identifier: Apache-2.0
#include "store/tree/merge.hpp"

#include <map>
#include <variant>

#include "base/error.hpp"
#include "catch.hpp"
#include "checksum-of.hpp"
#include "layer/dirtree.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

namespace {

const Digest some_digest(checksum_of('a'));

// Builds layers out of paths, merges them, and lists the result as path to content ("/" and mode for a directory, "->"
// and target for a link).
class Stack {
public:
    struct Layer {
        LayerTree tree;
        std::vector<UnresolvedLink> links, links_first;
        bool record = true;
    };

    Stack() : sink_(repository_.repository.make_sink(repository_.staging, repository_.pool)) {}

    Stack& layer() {
        layers_.emplace_back();
        return *this;
    }
    Stack& file(const std::string& path, const std::string& content) {
        const auto* bytes = reinterpret_cast<const std::byte*>(content.data());
        layers_.back().tree.put_file(split_path(path),
                                     sink_->put_file({0, 0, 0100644, nullptr}, {bytes, bytes + content.size()}));
        contents_[content_key(content)] = content;
        return *this;
    }
    Stack& link(const std::string& path, const std::string& target) {
        layers_.back().tree.put_file(split_path(path), sink_->put_symlink({0, 0, 0120777, nullptr}, target));
        return *this;
    }
    Stack& directory(const std::string& path, std::uint32_t mode = 0755) {
        layers_.back().tree.put_directory(
            split_path(path),
            sink_->put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, 040000 | mode, nullptr})));
        return *this;
    }
    Stack& whiteout(const std::string& path) {
        layers_.back().tree.put_whiteout(split_path(path), sink_->put_file({0, 0, 0100000, nullptr}, {}));
        return *this;
    }
    Stack& hard_link(const std::string& path, const std::string& target) {
        layers_.back().tree.put_placeholder(split_path(path));
        layers_.back().links.push_back({path, target});
        return *this;
    }
    Stack& hard_link_before_all(const std::string& path, const std::string& target) {
        layers_.back().links_first.push_back({path, target});
        return hard_link(path, target);
    }
    // As if another program had written the layer: no record of what the tar listed.
    Stack& without_record() {
        layers_.back().record = false;
        return *this;
    }

    std::map<std::string, std::string> merge() {
        DerivedLayerRules rules;
        rules.mapping.move_var = move_var;
        std::size_t next = 0;
        const auto merged = merge_layers(
            std::nullopt,
            [&]() -> std::optional<MergeLayer> {
                if (next == layers_.size()) return std::nullopt;
                auto& layer = layers_[next++];
                const auto root = layer.tree.write(rules.mapping, *sink_);
                LayerRecord record;
                record.has_implicit = layer.record;
                record.root = RootPolicy::everything;
                record.moved_var = move_var;
                record.unresolved = layer.links;
                record.whiteout_only_directories.insert(root.whiteout_only.begin(), root.whiteout_only.end());
                record.whiteouts_behind = root.behind;
                record.order = root.order;
                record.links_first = layer.links_first;
                if (layer.record) record.implicit_directories.insert(root.implicit.begin(), root.implicit.end());
                if (layer.record && root.listed)
                    record.listed_directories.emplace(root.listed->begin(), root.listed->end());
                return MergeLayer{some_digest, {true, root.tree, root.meta}, std::move(record)};
            },
            rules, [](const Checksum&) { return std::nullopt; }, *sink_);
        filtered = merged.filtered;
        std::map<std::string, std::string> entries;
        list(merged.root, "", entries);
        return entries;
    }

    bool move_var = false;
    std::map<std::string, std::map<std::string, std::uint32_t>> filtered;

private:
    Checksum content_key(const std::string& content) {
        const auto* bytes = reinterpret_cast<const std::byte*>(content.data());
        return sink_->put_file({0, 0, 0100644, nullptr}, {bytes, bytes + content.size()});
    }
    void list(const TreeEntry& directory, const std::string& path, std::map<std::string, std::string>& entries) {
        const auto mode = parse_dirmeta(sink_->read_metadata(ObjectType::dirmeta, directory.meta)).mode & 07777;
        char text[16];
        std::snprintf(text, sizeof text, "/%o", mode);
        if (!path.empty()) entries[path] = text;
        const auto listing = parse_dirtree(sink_->read_metadata(ObjectType::dirtree, directory.object));
        const auto below = [&](const std::string& name) { return path.empty() ? name : path + "/" + name; };
        for (const auto& child : listing.directories) list({true, child.tree, child.meta}, below(child.name), entries);
        for (const auto& file : listing.files) {
            const auto target = sink_->read_symlink(file.object);
            entries[below(file.name)] = target                            ? "->" + *target
                                        : contents_.contains(file.object) ? contents_[file.object]
                                                                          : "?";
        }
    }

    TemporaryRepository repository_;
    std::unique_ptr<ObjectSink> sink_;
    std::vector<Layer> layers_;
    std::map<Checksum, std::string> contents_;
};

using Tree = std::map<std::string, std::string>;

}  // namespace

TEST_CASE("an upper file replaces a lower one", "[merge]") {
    CHECK(Stack().layer().file("a", "1").file("b", "1").layer().file("a", "2").merge() == Tree{{"a", "2"}, {"b", "1"}});
}

TEST_CASE("a directory that the upper layer lists takes over its metadata, one that it only implies does not",
          "[merge]") {
    CHECK(Stack().layer().directory("d", 0700).layer().directory("d", 0755).merge() == Tree{{"d", "/755"}});
    CHECK(Stack().layer().directory("d", 0700).layer().file("d/f", "1").merge() == Tree{{"d", "/700"}, {"d/f", "1"}});
}

TEST_CASE("without a record, a directory with default metadata counts as implied", "[merge]") {
    CHECK(Stack().layer().directory("d", 0700).layer().without_record().directory("d", 0755).merge() ==
          Tree{{"d", "/700"}});
    CHECK(Stack().layer().directory("d", 0700).layer().without_record().directory("d", 0711).merge() ==
          Tree{{"d", "/711"}});
}

TEST_CASE("a whiteout hides what is below, never what its own layer brings", "[merge]") {
    CHECK(Stack().layer().file("d/a", "1").file("d/b", "1").layer().whiteout("d/.wh.a").merge() ==
          Tree{{"d", "/755"}, {"d/b", "1"}});
    CHECK(Stack().layer().file("a", "1").layer().whiteout(".wh.a").file("a", "2").merge() == Tree{{"a", "2"}});
    CHECK(Stack().layer().file("d/old", "1").layer().file("d/new", "2").whiteout(".wh.d").merge() ==
          Tree{{"d", "/755"}, {"d/new", "2"}});
    CHECK(Stack().layer().file(".hid", "1").layer().whiteout(".wh..hid").merge() == Tree{});
}

TEST_CASE("an opaque directory hides all that is below it", "[merge]") {
    CHECK(Stack()
              .layer()
              .file("d/old", "1")
              .file("d/e/old", "1")
              .layer()
              .file("d/new", "2")
              .whiteout("d/.wh..wh..opq")
              .merge() == Tree{{"d", "/755"}, {"d/new", "2"}});
}

TEST_CASE("whiteouts that hide nothing and aufs' own files leave no trace", "[merge]") {
    CHECK(Stack().layer().whiteout(".wh.nothing").whiteout("d/.wh.nothing").merge() == Tree{});
    CHECK(Stack().layer().file("a", "1").layer().whiteout(".wh..wh.plnk").merge() == Tree{{"a", "1"}});
}

TEST_CASE("a parent that is there for whiteouts only neither makes nor replaces anything", "[merge]") {
    const auto check = [](bool record) {
        const auto upper = [&](Stack& stack) -> Stack& {
            stack.layer();
            return record ? stack : stack.without_record();
        };
        Stack over_file, over_nothing, over_link, through_link;
        CHECK(upper(over_file.layer().file("a", "1")).whiteout("a/b/.wh..wh..opq").merge() == Tree{{"a", "1"}});
        CHECK(upper(over_nothing.layer().file("a", "1")).whiteout("x/y/.wh.z").merge() == Tree{{"a", "1"}});
        CHECK(upper(over_link.layer().link("l", "nowhere")).whiteout("l/a/.wh.b").merge() == Tree{{"l", "->nowhere"}});
        CHECK(
            upper(through_link.layer().link("l", "d").file("d/a", "1").file("d/b", "1")).whiteout("l/.wh.a").merge() ==
            Tree{{"d", "/755"}, {"d/b", "1"}, {"l", "->d"}});
    };
    check(true);
    check(false);
}

TEST_CASE("an implied parent follows a lower link to a directory, a listed one replaces it", "[merge]") {
    auto lower = [](Stack& stack) -> Stack& {
        return stack.layer().directory("usr/lib").link("lib", "usr/lib").layer();
    };
    Stack implied, listed;
    CHECK(lower(implied).file("lib/x", "1").merge() ==
          Tree{{"lib", "->usr/lib"}, {"usr", "/755"}, {"usr/lib", "/755"}, {"usr/lib/x", "1"}});
    CHECK(lower(listed).directory("lib", 0711).file("lib/x", "1").merge() ==
          Tree{{"lib", "/711"}, {"lib/x", "1"}, {"usr", "/755"}, {"usr/lib", "/755"}});
}

TEST_CASE("a link into a directory that does not exist makes it, a loop is an error", "[merge]") {
    CHECK(Stack().layer().link("l", "/far/away").layer().file("l/x", "1").merge() ==
          Tree{{"far", "/755"}, {"far/away", "/755"}, {"far/away/x", "1"}, {"l", "->/far/away"}});
    CHECK_THROWS_AS(Stack().layer().link("a", "b").link("b", "a").layer().file("a/x", "1").merge(), Error);
}

TEST_CASE("kinds replace one another over three layers", "[merge]") {
    CHECK(Stack().layer().file("a", "1").layer().file("a/b", "2").layer().link("a", "c").merge() == Tree{{"a", "->c"}});
    CHECK(Stack().layer().file("a/b", "1").layer().file("a", "2").layer().directory("a", 0700).merge() ==
          Tree{{"a", "/700"}});
}

TEST_CASE("a hard link to a file of a lower layer is found there", "[merge]") {
    CHECK(Stack()
              .layer()
              .directory("usr/lib")
              .link("lib", "usr/lib")
              .file("usr/lib/f", "1")
              .layer()
              .hard_link("g", "lib/f")
              .merge() ==
          Tree{{"g", "1"}, {"lib", "->usr/lib"}, {"usr", "/755"}, {"usr/lib", "/755"}, {"usr/lib/f", "1"}});
    CHECK_THROWS_WITH(Stack().layer().file("a", "1").layer().hard_link("g", "none").merge(),
                      containing("\"g\"") && containing("\"none\""));
}

TEST_CASE("/etc is kept as usr/etc, also where /usr is hidden or /etc is", "[merge]") {
    CHECK(Stack().layer().file("etc/a", "1").file("usr/b", "1").layer().whiteout(".wh.usr").merge() ==
          Tree{{"usr", "/755"}, {"usr/etc", "/755"}, {"usr/etc/a", "1"}});
    CHECK(Stack().layer().file("etc/a", "1").file("usr/b", "1").layer().whiteout(".wh.etc").merge() ==
          Tree{{"usr", "/755"}, {"usr/b", "1"}});
    CHECK(Stack().layer().directory("etc", 0700).layer().file("etc/a", "1").whiteout("etc/.wh.b").merge() ==
          Tree{{"usr", "/755"}, {"usr/etc", "/700"}, {"usr/etc/a", "1"}});
}

TEST_CASE("/var moves to usr/share/factory/var where the deployment does not fill it", "[merge]") {
    Stack moved;
    moved.move_var = true;
    CHECK(moved.layer().file("var/lib/a", "1").layer().whiteout("var/lib/.wh.a").file("var/b", "2").merge() ==
          Tree{{"usr", "/755"},
               {"usr/share", "/755"},
               {"usr/share/factory", "/755"},
               {"usr/share/factory/var", "/755"},
               {"usr/share/factory/var/b", "2"},
               {"usr/share/factory/var/lib", "/755"}});
}

TEST_CASE("empty hostname and resolv.conf of a container build are dropped, others kept", "[merge]") {
    CHECK(Stack().layer().file("etc/hostname", "").file("etc/resolv.conf", "nameserver").file("etc/x", "").merge() ==
          Tree{{"usr", "/755"}, {"usr/etc", "/755"}, {"usr/etc/resolv.conf", "nameserver"}, {"usr/etc/x", ""}});
}

TEST_CASE("links cannot lead entries into directories that are mounted over", "[merge]") {
    CHECK(Stack().layer().directory("run").link("var/run", "/run").layer().file("var/run/pid", "1").merge() ==
          Tree{{"run", "/755"}, {"var", "/755"}, {"var/run", "->/run"}});
}

TEST_CASE("/etc and /usr/etc are two directories, and one in the commit", "[merge]") {
    const Tree parents{{"usr", "/755"}, {"usr/etc", "/755"}};
    const auto with = [&](Tree files) {
        files.insert(parents.begin(), parents.end());
        return files;
    };
    for (const bool etc_first : {true, false}) {
        Stack both;
        both.layer();
        if (etc_first) both.file("etc/a", "admin");
        both.file("usr/etc/a", "vendor").file("usr/etc/b", "b");
        if (!etc_first) both.layer().file("etc/a", "admin");
        CHECK(both.merge() == with({{"usr/etc/a", "admin"}, {"usr/etc/b", "b"}}));
        CHECK(both.filtered == decltype(both.filtered){{some_digest.text(), {{"usr/etc", 1}}}});
    }
    const auto lower = [](Stack& stack) -> Stack& {
        return stack.layer().file("etc/a", "admin").file("usr/etc/b", "b").layer();
    };
    Stack hides_own, hides_vendor, opaque_own, opaque_vendor;
    CHECK(lower(hides_own).whiteout(".wh.etc").merge() == with({{"usr/etc/b", "b"}}));
    CHECK(lower(hides_vendor).whiteout("usr/.wh.etc").merge() == with({{"usr/etc/a", "admin"}}));
    CHECK(lower(opaque_own).whiteout("etc/.wh..wh..opq").merge() == with({{"usr/etc/b", "b"}}));
    CHECK(lower(opaque_vendor).whiteout("usr/etc/.wh..wh..opq").merge() == with({{"usr/etc/a", "admin"}}));
    Stack linked, linked_back, file_linked, circle;
    CHECK(linked.layer().file("usr/etc/a", "1").layer().link("etc", "usr/etc").merge() == with({{"usr/etc/a", "1"}}));
    CHECK(linked_back.layer().file("etc/a", "1").layer().link("usr/etc", "../etc").merge() ==
          with({{"usr/etc/a", "1"}}));
    CHECK(file_linked.layer().link("etc/a", "../usr/etc/a").file("usr/etc/a", "1").merge() ==
          with({{"usr/etc/a", "1"}}));
    CHECK(circle.layer().link("etc", "usr/etc").link("usr/etc", "/etc").merge() == Tree{{"usr", "/755"}});
}

TEST_CASE("a layer that another program wrote has one directory for both", "[merge]") {
    // It would have had no whiteout of /etc: that one is of the image's /usr/etc.
    Stack stack;
    CHECK(stack.layer().file("etc/a", "1").layer().without_record().whiteout(".wh.etc").file("usr/x", "2").merge() ==
          Tree{{"usr", "/755"}, {"usr/etc", "/755"}, {"usr/etc/a", "1"}, {"usr/x", "2"}});
}

TEST_CASE("of two entries that a lower link leads to one place the later one stays", "[merge]") {
    for (const bool by_link_first : {true, false}) {
        Stack stack;
        stack.layer().directory("usr/lib").link("lib", "usr/lib").layer();
        if (by_link_first) {
            stack.file("lib/x", "1").file("usr/lib/x", "2");
        } else {
            stack.file("usr/lib/x", "1").file("lib/x", "2");
        }
        CHECK(stack.merge() == Tree{{"lib", "->usr/lib"}, {"usr", "/755"}, {"usr/lib", "/755"}, {"usr/lib/x", "2"}});
    }
}

TEST_CASE("a hard link is to what its target names in the whole stack", "[merge]") {
    const auto lower = [](Stack& stack) -> Stack& {
        return stack.layer().directory("usr/lib").link("lib", "usr/lib").file("usr/lib/f", "old").layer();
    };
    Stack after, before;
    CHECK(lower(after).file("usr/lib/f", "new").hard_link("g", "lib/f").merge()["g"] == "new");
    CHECK(lower(before).file("usr/lib/f", "new").hard_link_before_all("g", "lib/f").merge()["g"] == "old");
}

TEST_CASE("a whiteout inside what its layer put there is about what is below", "[merge]") {
    for (const bool whiteout_first : {true, false}) {
        Stack stack;
        stack.layer().file("a/old", "1").file("a/other", "2").layer();
        if (whiteout_first) stack.whiteout("a/.wh.old");
        stack.file("a", "new");
        if (!whiteout_first) stack.whiteout("a/.wh.old");
        CHECK(stack.merge() == Tree{{"a", "new"}});
    }
}

TEST_CASE("an empty resolv.conf of a build leaves the one below", "[merge]") {
    CHECK(Stack().layer().file("etc/resolv.conf", "nameserver").layer().file("etc/resolv.conf", "").merge() ==
          Tree{{"usr", "/755"}, {"usr/etc", "/755"}, {"usr/etc/resolv.conf", "nameserver"}});
}
