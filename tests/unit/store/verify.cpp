// SPDX-License-Identifier: Apache-2.0
#include "store/verify/verify.hpp"
#include "base/json.hpp"

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.hpp"
#include "catch.hpp"
#include "image-builder.hpp"
#include "layer/dirtree.hpp"
#include "store/catalog/image-catalog.hpp"
#include "store/verify/repair.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

const std::string reference = "oci:/images:a";

struct CheckedStore {
    TemporaryRepository home;
    ImageBuilder images{home};
    Cancellation cancellation;
    Nobody nobody;
    ImageBuilder::Layer lower = images.layer("lower", {{"usr/bin/tool", "tool"}, {"usr/lib/deep/file", "deep"}});
    ImageBuilder::Layer upper = images.layer("upper", {{"usr/bin/other", "other"}, {"etc/conf", "conf"}});
    Checksum merge = images.image(reference, {lower, upper});

    Verdict verify(const std::vector<ImageReference>& list = {}) {
        return verify_images(home.repository, list, cancellation, nobody);
    }
    VerifyOutcome check(bool repair) {
        VerifyRequest request;
        request.repository = home.path;
        request.repair = repair;
        return verify_and_repair(request, cancellation, nobody);
    }
    VerifyOutcome repair() { return check(true); }
    const Repository::Commit commit(const Checksum& checksum) { return home.repository.load_commit(checksum); }
    DirectoryListing tree(const Checksum& checksum) {
        return parse_dirtree(*home.repository.load_metadata(ObjectType::dirtree, checksum));
    }
    void flip_byte(const Checksum& checksum, const std::string& type) {
        std::fstream file(images.path_of(checksum, type), std::ios::in | std::ios::out | std::ios::binary);
        const auto first = static_cast<char>(file.peek());
        file.seekp(0);
        file.put(static_cast<char>(first ^ 1));
    }
};

// The one thing that is wrong with the one image.
Damage only_damage(const Verdict& verdict) {
    REQUIRE(verdict.images.size() == 1);
    REQUIRE(verdict.images[0].image == reference);
    REQUIRE(verdict.images[0].damage.size() == 1);
    return verdict.images[0].damage[0];
}

}  // namespace

TEST_CASE("a sound image is found to be sound") {
    CheckedStore store;
    const auto verdict = store.verify();
    REQUIRE(verdict.images.size() == 1);
    REQUIRE(verdict.images[0].damage.empty());
    REQUIRE(verdict.images[0].notes.empty());
    REQUIRE(verdict.bad_objects.empty());
    REQUIRE(verdict.unused_layers.empty());
    REQUIRE(verdict.bytes == std::string("tooldeepotherconf").size());
}

TEST_CASE("a byte that flipped in a file is named with its layer and its path") {
    CheckedStore store;
    const auto file = store.images.file("deep");
    store.flip_byte(file, "file");
    const auto damage = only_damage(store.verify());
    REQUIRE(damage.kind == DamageKind::object);
    REQUIRE(damage.object == file.hex() + ".file");
    REQUIRE(damage.message == file.hex() + ".file is corrupt");
    REQUIRE(damage.layer == store.lower.digest);
    REQUIRE(damage.path == "/usr/lib/deep/file");
}

TEST_CASE("damage is found in an image of many files too") {
    CheckedStore store;
    ImageBuilder::Files files;
    for (int i = 0; i < 17'000; ++i) files.emplace_back("usr/many/" + std::to_string(i), std::to_string(i));
    const auto many = store.images.layer("many", files);
    const auto merge = store.images.image("oci:/images:many", {many});
    const auto list = std::vector{ImageReference::parse("oci:/images:many")};
    CHECK(store.verify(list).images[0].damage.empty());
    const auto tree =
        store.tree(store.tree(store.tree(store.commit(merge).tree).directories[0].tree).directories[0].tree);
    REQUIRE(tree.files.size() == files.size());
    store.flip_byte(tree.files[1'000].object, "file");
    fs::remove(store.images.path_of(tree.files[2'000].object, "file"));
    CHECK(store.verify(list).images[0].damage_count >= 2);
}

TEST_CASE("a mode that changed is damage like a byte of the content") {
    CheckedStore store;
    if (store.home.repository.mode() != "bare") return;
    fs::permissions(store.images.path_of(store.images.file("tool"), "file"), fs::perms::owner_all);
    REQUIRE(only_damage(store.verify()).path == "/usr/bin/tool");
}

TEST_CASE("a file that is missing is named") {
    CheckedStore store;
    fs::remove(store.images.path_of(store.images.file("conf"), "file"));
    const auto damage = only_damage(store.verify());
    REQUIRE(damage.message.find("is missing") != std::string::npos);
    REQUIRE(damage.layer == store.upper.digest);
    REQUIRE(damage.path == "/usr/etc/conf");
}

TEST_CASE("a directory that is gone is named") {
    CheckedStore store;
    const auto usr = store.tree(store.commit(store.lower.commit).tree).directories[0].tree;
    fs::remove(store.images.path_of(usr, "dirtree"));
    const auto damage = only_damage(store.verify());
    REQUIRE(damage.object == usr.hex() + ".dirtree");
    REQUIRE(damage.message.find("is missing") != std::string::npos);
    REQUIRE(damage.layer == store.lower.digest);
    REQUIRE(damage.path == "/usr");
}

TEST_CASE("a merge commit that was cut off is named") {
    CheckedStore store;
    fs::resize_file(store.images.path_of(store.merge, "commit"), 10);
    const auto damage = only_damage(store.verify());
    REQUIRE(damage.object == store.merge.hex() + ".commit");
    REQUIRE(damage.message.find("is corrupt") != std::string::npos);
}

TEST_CASE("a layer's commit that was cut off is named with its layer") {
    CheckedStore store;
    fs::resize_file(store.images.path_of(store.lower.commit, "commit"), 0);
    const auto damage = only_damage(store.verify());
    REQUIRE(damage.object == store.lower.commit.hex() + ".commit");
    REQUIRE(damage.layer == store.lower.digest);
}

TEST_CASE("a layer's ref that is gone, nonsense or another layer's is named") {
    CheckedStore store;
    SECTION("gone") {
        store.home.repository.set_ref(store.lower.ref(), std::nullopt);
    }
    SECTION("nonsense") {
        std::ofstream(store.home.path + "/refs/heads/" + store.lower.ref()) << "nonsense";
    }
    SECTION("another's") {
        store.home.repository.set_ref(store.lower.ref(), store.upper.commit);
    }
    const auto damage = only_damage(store.verify());
    REQUIRE(damage.kind == DamageKind::ref);
    REQUIRE(damage.ref == store.lower.ref());
    REQUIRE(damage.layer == store.lower.digest);
}

TEST_CASE("a merged tree that is not what the layers give is named with the paths that differ") {
    CheckedStore store;
    // The tree of one layer under the manifest of two.
    CommitContent content;
    const auto merged = store.commit(store.merge);
    const auto lower = store.commit(store.lower.commit);
    content.metadata.reset(g_variant_ref(merged.metadata.get()));
    content.tree = lower.tree;
    content.meta = lower.meta;
    const auto sink = store.home.repository.make_sink(store.home.staging, store.home.pool);
    const auto wrong = sink->put_metadata(ObjectType::commit, serialise_commit(content));
    sink->publish();
    store.home.repository.set_ref(image_ref(ImageReference::parse(reference)), wrong);
    const auto damage = only_damage(store.verify());
    REQUIRE(damage.kind == DamageKind::merge);
    REQUIRE(damage.message.find("/usr/bin/other") != std::string::npos);

    const auto outcome = store.repair();
    REQUIRE(outcome.unrepaired.empty());
    REQUIRE(outcome.repaired.size() == 1);
    REQUIRE(store.home.repository.resolve(image_ref(ImageReference::parse(reference))).commit == store.merge);
    REQUIRE(store.verify().images[0].damage.empty());
}

TEST_CASE("damage of one image is not another's") {
    CheckedStore store;
    const auto other = store.images.layer("other", {{"usr/share/other", "sound"}});
    store.images.image("oci:/images:b", {store.upper, other});
    store.flip_byte(store.images.file("deep"), "file");
    const auto verdict = store.verify();
    REQUIRE(verdict.images.size() == 2);
    REQUIRE(verdict.images[0].damage.size() == 1);
    REQUIRE(verdict.images[1].damage.empty());
}

TEST_CASE("damage that two images share is told of both") {
    CheckedStore store;
    store.images.image("oci:/images:b", {store.lower});
    store.flip_byte(store.images.file("deep"), "file");
    for (const auto& image : store.verify().images) REQUIRE(image.damage.size() == 1);
}

TEST_CASE("a damaged layer that no image uses is told as such") {
    CheckedStore store;
    const auto unused = store.images.layer("unused", {{"usr/unused", "unused"}});
    store.flip_byte(store.images.file("unused"), "file");
    const auto verdict = store.verify();
    REQUIRE(verdict.images[0].damage.empty());
    REQUIRE(verdict.unused_layers.count(unused.digest.text()) == 1);
}

TEST_CASE("a broken ref of a layer is told as such, and as no object that is missing") {
    CheckedStore store;
    const auto unused = store.images.layer("unused", {{"usr/unused", "unused"}});
    for (const auto& layer : {unused, store.lower})
        std::ofstream(store.home.path + "/refs/heads/" + layer.ref()) << "nonsense";
    auto verdict = store.verify();
    CHECK(verdict.unused_layers.at(unused.digest.text()) == "its ref contains no checksum");
    CHECK(verdict.bad_objects.empty());
    const auto image = ImageReference::parse(reference);
    auto described = ImageCatalog::open_existing(store.home.path)->describe(image);
    CHECK(described["state"] == "damaged");
    CHECK_FALSE(described["layer-list"][0].contains("commit"));

    std::ofstream(store.home.path + "/refs/heads/" + image_ref(image)) << "nonsense";
    verdict = store.check(false).verdict;
    CHECK(only_damage(verdict).message == "the image's ref contains no checksum");
    CHECK_FALSE(fs::exists(store.home.path + "/extensions/imaged/damaged.json"));
}

TEST_CASE("only the images that are named are looked at, and what is not stored is told") {
    CheckedStore store;
    store.images.image("oci:/images:b", {store.lower});
    const auto verdict = store.verify({ImageReference::parse("oci:/images:b"), ImageReference::parse("oci:/images:c")});
    REQUIRE(verdict.images.size() == 1);
    REQUIRE(verdict.missing == std::vector{ImageReference::parse("oci:/images:c")});
}

TEST_CASE("a verification writes nothing into the store but what it found") {
    CheckedStore store;
    std::set<std::string> before, after;
    for (const auto& entry : fs::recursive_directory_iterator(store.home.path + "/objects"))
        before.insert(entry.path());
    store.verify();
    for (const auto& entry : fs::recursive_directory_iterator(store.home.path + "/objects")) after.insert(entry.path());
    REQUIRE(before == after);
}

TEST_CASE("a lost ref of a layer whose commit is there is written again without any source") {
    CheckedStore store;
    store.home.repository.set_ref(store.lower.ref(), std::nullopt);
    const auto outcome = store.repair();
    REQUIRE(outcome.unrepaired.empty());
    REQUIRE(outcome.repaired.size() == 1);
    REQUIRE(outcome.repaired[0].layers_fetched == 0);
    REQUIRE(store.home.repository.resolve(store.lower.ref()).commit == store.lower.commit);
}

TEST_CASE("a directory that only the merge has is made again without any source") {
    CheckedStore store;
    const auto root = store.commit(store.merge).tree;
    REQUIRE(root != store.commit(store.lower.commit).tree);
    fs::resize_file(store.images.path_of(root, "dirtree"), 5);
    const auto outcome = store.repair();
    REQUIRE(outcome.unrepaired.empty());
    REQUIRE(outcome.repaired[0].layers_fetched == 0);
    REQUIRE(store.verify().images[0].damage.empty());
    REQUIRE(store.home.repository.resolve(image_ref(ImageReference::parse(reference))).commit == store.merge);
}

TEST_CASE("what cannot be repaired is said, and the bad object stays where it was") {
    CheckedStore store;
    const auto file = store.images.file("deep");
    store.flip_byte(file, "file");
    const auto outcome = store.repair();  // there is nothing at /images
    REQUIRE(outcome.repaired.empty());
    REQUIRE(outcome.unrepaired.count(reference) == 1);
    REQUIRE(only_damage(store.verify()).message == file.hex() + ".file is corrupt");
}

TEST_CASE("what was found damaged is listed as damaged until it is sound again") {
    CheckedStore store;
    const auto catalog = ImageCatalog::open_existing(store.home.path);
    REQUIRE(parse_json(*catalog->list())["images"][0]["state"] == "ok");
    const auto file = store.images.path_of(store.images.file("deep"), "file");
    store.flip_byte(store.images.file("deep"), "file");
    store.check(false);
    REQUIRE(parse_json(*catalog->list())["images"][0]["state"] == "damaged");
    REQUIRE(catalog->describe(ImageReference::parse(reference))["state"] == "damaged");
    store.flip_byte(store.images.file("deep"), "file");
    store.check(false);
    REQUIRE(parse_json(*catalog->list())["images"][0]["state"] == "ok");
}

TEST_CASE("a verification can be cancelled") {
    CheckedStore store;
    store.cancellation.request();
    REQUIRE_THROWS_AS(store.verify(), Error);
}
