// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/prune.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "base/error.hpp"
#include "catch.hpp"
#include "checksum-of.hpp"
#include "image-builder.hpp"
#include "layer/dirtree.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/ref-state.hpp"
#include "store/upkeep/layer-use.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

// Blocks of every file below PATH, each inode once; directories aside.
std::uint64_t blocks_of(const std::string& path) {
    std::uint64_t bytes = 0;
    std::set<ino_t> seen;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
        struct stat status;
        REQUIRE(::lstat(entry.path().c_str(), &status) == 0);
        if (!S_ISDIR(status.st_mode) && seen.insert(status.st_ino).second)
            bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
}

struct PrunedStore {
    TemporaryRepository home;
    ImageBuilder images{home};
    Cancellation cancellation;
    Nobody nobody;

    PruneOutcome prune(bool dry_run = false, bool foreign_commits = false) {
        return imaged::prune({home.path, dry_run, foreign_commits}, cancellation, nobody);
    }
    RemoveOutcome remove(const std::string& reference) {
        return remove_images(home.path, {ImageReference::parse(reference)}, cancellation);
    }
    bool has_ref(const std::string& ref) { return home.repository.resolve(ref).exists; }
    void fsck() { REQUIRE(std::system(("ostree fsck --quiet --repo=" + home.path + " >/dev/null").c_str()) == 0); }
    void truncate(const Checksum& checksum, const std::string& type) {
        fs::resize_file(images.path_of(checksum, type), 3);
    }
};

const std::string big(100'000, 'x');

}  // namespace

TEST_CASE("a dry run promises what the run after it frees, block for block") {
    PrunedStore store;
    const auto kept = store.images.layer("kept", {{"usr/kept", "kept"}});
    const auto gone = store.images.layer("gone", {{"usr/gone", big}, {"usr/lib/small", "small"}});
    store.images.image("oci:/images:kept", {kept});
    store.images.image("oci:/images:gone", {kept, gone});
    store.home.repository.set_ref(image_ref(ImageReference::parse("oci:/images:gone")), std::nullopt);
    fs::create_directories(store.home.path + "/tmp/imaged-1234/0");
    std::ofstream(store.home.path + "/tmp/imaged-1234/0/left") << big;
    const auto before = blocks_of(store.home.path);

    const auto promised = store.prune(true);
    REQUIRE(blocks_of(store.home.path) == before);
    REQUIRE(store.has_ref(gone.ref()));
    const auto done = store.prune();

    REQUIRE(promised.bytes == done.bytes);
    REQUIRE(promised.garbage.objects == done.garbage.objects);
    REQUIRE(promised.layers == done.layers);
    REQUIRE(done.layers == std::vector<std::string>{gone.digest.text()});
    REQUIRE(before - blocks_of(store.home.path) == done.bytes);
    REQUIRE(done.bytes > 2 * big.size());
    REQUIRE(store.has_ref(kept.ref()));
    REQUIRE_FALSE(store.has_ref(gone.ref()));
    store.fsck();
}

TEST_CASE("an object that a deployment shares by a hard link frees nothing") {
    PrunedStore store;
    store.images.layer("layer", {{"usr/big", big}});
    const auto object = store.images.file(big);
    fs::create_hard_link(store.images.path_of(object, "file"), store.home.directory.path + "/deployed");
    const auto promised = store.prune(true);
    const auto before = blocks_of(store.home.directory.path);
    const auto done = store.prune();
    REQUIRE(done.bytes == promised.bytes);
    REQUIRE(before - blocks_of(store.home.directory.path) == done.bytes);
    REQUIRE(done.bytes < big.size());
    REQUIRE_FALSE(store.images.has(object, "file"));
}

TEST_CASE("a second prune finds nothing to do") {
    PrunedStore store;
    store.images.image("oci:/images:a", {store.images.layer("a", {{"usr/a", "a"}})});
    store.images.layer("b", {{"usr/b", "b"}});
    REQUIRE(store.prune().garbage.objects > 0);
    const auto again = store.prune();
    REQUIRE(again.garbage.objects == 0);
    REQUIRE(again.bytes == 0);
    REQUIRE(again.layers.empty());
}

TEST_CASE("layers of deployments and of protected bases stay") {
    const auto* ref = GENERATE("ostree/0/0/1", "ostree/1/1/0", "rpmostree/base/0", "ostree/container/baseimage/host");
    PrunedStore store;
    const auto layer = store.images.layer("layer", {{"usr/file", "content"}});
    store.home.repository.set_ref(ref, store.images.merge({layer}));
    const auto outcome = store.prune();
    REQUIRE(outcome.layers.empty());
    REQUIRE(outcome.garbage.objects == 0);
    REQUIRE(store.has_ref(layer.ref()));
}

TEST_CASE("other tools' branches and their history stay") {
    PrunedStore store;
    const auto older = store.images.foreign_commit("old");
    store.home.repository.set_ref("exampleos/stable", store.images.foreign_commit("new", older));
    REQUIRE(store.prune(false, true).garbage.objects == 0);
    store.fsck();
}

TEST_CASE("a foreign commit that no ref names stays unless it is asked for") {
    PrunedStore store;
    const auto commit = store.images.foreign_commit("content");
    const auto kept = store.prune();
    REQUIRE(kept.garbage.foreign_commits == 1);
    REQUIRE(kept.garbage.objects == 0);
    const auto gone = store.prune(false, true);
    REQUIRE(gone.garbage.commits == 1);
    REQUIRE_FALSE(store.images.has(commit, "commit"));
}

TEST_CASE("detached metadata goes with its commit and is counted") {
    PrunedStore store;
    const auto kept = store.images.layer("kept", {{"usr/kept", "kept"}});
    const auto image = store.images.image("oci:/images:a", {kept});
    const auto gone = store.images.merge({kept, store.images.layer("gone", {{"usr/gone", "gone"}})});
    const auto dictionary = adopt_variant(g_variant_new_parsed("{'k': <'v'>}"));
    const std::string metadata(static_cast<const char*>(g_variant_get_data(dictionary.get())),
                               g_variant_get_size(dictionary.get()));
    store.home.repository.write_detached_metadata(image, metadata);
    store.home.repository.write_detached_metadata(gone, metadata);
    const auto promised = store.prune(true);
    const auto before = blocks_of(store.home.path);
    REQUIRE(store.prune().bytes == promised.bytes);
    REQUIRE(before - blocks_of(store.home.path) == promised.bytes);
    REQUIRE(store.images.has(image, "commitmeta"));
    REQUIRE_FALSE(store.images.has(gone, "commitmeta"));
}

TEST_CASE("a repository that wants tombstones gets them, and the promise holds") {
    PrunedStore store;
    std::ofstream(store.home.path + "/config", std::ios::app) << "[core]\ntombstone-commits=true\n";
    const auto layer = store.images.layer("gone", {{"usr/gone", big}});
    const auto promised = store.prune(true);
    const auto before = blocks_of(store.home.path);
    REQUIRE(store.prune().bytes == promised.bytes);
    REQUIRE(before - blocks_of(store.home.path) == promised.bytes);
    REQUIRE(store.images.has(layer.commit, "tombstone-commit"));
}

TEST_CASE("an image that cannot be read keeps every layer, and does not keep other garbage") {
    PrunedStore store;
    const auto own = store.images.layer("own", {{"usr/own", "own"}});
    const auto unused = store.images.layer("unused", {{"usr/unused", "unused"}});
    const auto image = store.images.image("oci:/images:broken", {own});
    const auto old_merge = store.images.merge({own, unused});
    store.truncate(image, "commit");
    const auto outcome = store.prune();
    REQUIRE(outcome.damaged.count("oci:/images:broken") == 1);
    REQUIRE(outcome.layers.empty());
    REQUIRE(store.has_ref(own.ref()));
    REQUIRE(store.has_ref(unused.ref()));
    REQUIRE_FALSE(store.images.has(old_merge, "commit"));
    REQUIRE(store.images.has(store.images.file("own"), "file"));
}

TEST_CASE("what hangs on a directory that cannot be read stays") {
    PrunedStore store;
    const auto layer = store.images.layer("layer", {{"usr/lib/deep/file", "deep"}});
    const auto image = store.images.image("oci:/images:broken", {layer});
    const auto gone = store.images.merge({store.images.layer("gone", {{"usr/gone", big}})});
    const auto content = store.images.file("deep");
    // The directory is the same in the layer and in the merged tree: nothing else reaches the file now.
    const auto root = parse_dirtree(
        *store.home.repository.load_metadata(ObjectType::dirtree, store.home.repository.load_commit(image).tree));
    REQUIRE(root.directories.size() == 1);
    store.truncate(root.directories[0].tree, "dirtree");
    const auto promised = store.prune(true);
    const auto outcome = store.prune();
    REQUIRE(outcome.bytes == promised.bytes);
    REQUIRE(outcome.damaged.count("oci:/images:broken") == 1);
    REQUIRE(store.images.has(content, "file"));
    REQUIRE_FALSE(store.images.has(gone, "commit"));
    REQUIRE(outcome.bytes > big.size());
}

TEST_CASE("a ref without a checksum is damage and can be removed") {
    PrunedStore store;
    const auto layer = store.images.layer("layer", {{"usr/file", "content"}});
    store.images.image("oci:/images:fine", {layer});
    store.images.image("oci:/images:nonsense", {layer});
    std::ofstream(store.home.path + "/refs/heads/" + image_ref(ImageReference::parse("oci:/images:nonsense"))) << "";
    REQUIRE(store.prune().damaged.count("oci:/images:nonsense") == 1);
    const auto removed = store.remove("oci:/images:nonsense");
    REQUIRE(removed.removed.size() == 1);
    REQUIRE_FALSE(removed.removed[0].digest);
    REQUIRE(store.prune().damaged.empty());
    REQUIRE(store.has_ref(layer.ref()));
}

TEST_CASE("removing images tells which are missing and removes the rest with the layers that only they used") {
    PrunedStore store;
    const auto shared = store.images.layer("shared", {{"usr/shared", "shared"}});
    const auto own = store.images.layer("own", {{"usr/own", "own"}});
    store.images.image("oci:/images:a", {shared, own});
    store.images.image("oci:/images:b", {shared});
    const auto outcome = remove_images(
        store.home.path, {ImageReference::parse("oci:/images:nowhere"), ImageReference::parse("oci:/images:a")},
        store.cancellation);
    REQUIRE(outcome.missing == std::vector{ImageReference::parse("oci:/images:nowhere")});
    REQUIRE(outcome.removed.size() == 1);
    REQUIRE(outcome.removed[0].image == ImageReference::parse("oci:/images:a"));
    REQUIRE(outcome.removed[0].digest == store.images.source({shared, own}).digest.text());
    REQUIRE(outcome.layers == std::vector<std::string>{own.digest.text()});
    REQUIRE(store.has_ref(shared.ref()));
    REQUIRE(store.prune().garbage.commits == 2);
    store.fsck();
}

TEST_CASE("another program at work holds up prune for as long as the repository says") {
    PrunedStore store;
    std::ofstream(store.home.path + "/config", std::ios::app) << "[core]\nlock-timeout-secs=1\n";
    store.images.layer("unused", {{"usr/unused", "unused"}});
    const FileDescriptor other(::open((store.home.path + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    // libostree's lock, and the one that it falls back to.
    struct flock lock {};
    const auto set = [&](short type) {
        lock.l_type = type;
        return ::fcntl(other.get(), F_OFD_SETLK, &lock);
    };
    REQUIRE(set(F_RDLCK) == 0);
    REQUIRE_THROWS_WITH(store.prune(), containing("another program is at work"));
    REQUIRE(drop_unused_layers(store.home.path, 0).empty());
    REQUIRE(set(F_UNLCK) == 0);
    REQUIRE(::flock(other.get(), LOCK_SH) == 0);
    REQUIRE_THROWS_WITH(store.prune(), containing("another program is at work"));
    REQUIRE(drop_unused_layers(store.home.path, 0).empty());
    REQUIRE(::flock(other.get(), LOCK_UN) == 0);
    REQUIRE(drop_unused_layers(store.home.path, 0).size() == 1);
}

TEST_CASE("beside many images a job leaves unused layers to the next prune, and never drops one that is used") {
    PrunedStore store;
    const auto used = store.images.layer("used", {{"usr/used", "used"}});
    const auto unused = store.images.layer("unused", {{"usr/unused", "unused"}});
    const auto merge = store.images.image("oci:/images:0", {used});
    for (const int last : {499, 500}) {
        for (int i = 1; i <= last; ++i)
            store.home.repository.set_ref(image_ref(ImageReference::parse("oci:/images:" + std::to_string(i))), merge);
        CHECK(has_few_images(store.home.repository) == (last == 499));
        if (last == 499) continue;
        CHECK(drop_unused_layers(store.home.path, 0).empty());
        CHECK(store.has_ref(unused.ref()));
        CHECK(store.prune().layers.size() == 1);
        CHECK_FALSE(store.has_ref(unused.ref()));
    }
    const auto late = store.images.layer("late", {{"usr/late", "late"}});
    CHECK(store.remove("oci:/images:500").layers == std::vector<std::string>{late.digest.text()});
    CHECK(store.has_ref(used.ref()));
    store.fsck();
}

TEST_CASE("cancelling prune in time removes nothing") {
    PrunedStore store;
    const auto layer = store.images.layer("unused", {{"usr/unused", "unused"}});
    store.cancellation.request();
    REQUIRE_THROWS_AS(store.prune(), Error);
    REQUIRE(store.has_ref(layer.ref()));
    REQUIRE(store.images.has(layer.commit, "commit"));
}

namespace {

// With two images, one of which is deployed by another program, and a commit of it that no ref names. Nothing is to be
// removed, and the last prune knows that.
struct CleanStore : PrunedStore {
    const ImageBuilder::Layer layer = images.layer("one", {{"usr/one", "one"}});
    const std::string ref = image_ref(ImageReference::parse("oci:/images:one"));
    const fs::path record = home.path + "/extensions/imaged/pruned";
    Checksum merge;
    Checksum foreign;

    CleanStore() {
        images.image("oci:/images:one", {layer});
        merge = *home.repository.resolve(ref).commit;
        foreign = images.foreign_commit("by hand");
        settle();
    }
    // As it is after a prune.
    void settle() {
        for (int i = 0; i < 3; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(150));
            if (prune().is_as_before) return;
        }
        FAIL("a prune that has nothing to do is not known");
    }
};

}  // namespace

TEST_CASE("a prune that had nothing to do is known until something changes") {
    CleanStore store;
    const auto total = store.prune(true);
    CHECK(total.is_as_before);
    CHECK(total.garbage.objects_total > 5);
    CHECK(total.garbage.foreign_commits == 1);
    const auto found = [&](const std::function<void()>& change) {
        change();
        const auto promised = store.prune(true);
        const auto done = store.prune();
        CHECK(promised.is_as_before == done.is_as_before);
        CHECK(promised.bytes == done.bytes);
        CHECK(promised.garbage.objects == done.garbage.objects);
        if (done.damaged.empty()) store.fsck();
        return done;
    };
    SECTION("by an object that another program leaves") {
        const fs::path garbage = store.images.path_of(checksum_of('a'), "file");
        fs::create_directories(garbage.parent_path());
        const auto done = found([&] { std::ofstream(garbage) << big; });
        CHECK(done.garbage.objects == 1);
        CHECK_FALSE(fs::exists(garbage));
        store.settle();
    }
    SECTION("by an image that is gone") {
        const auto done = found([&] { fs::remove(store.home.path + "/refs/heads/" + store.ref); });
        CHECK(done.layers == std::vector<std::string>{store.layer.digest.text()});
        CHECK(done.garbage.commits == 2);
        CHECK(done.garbage.objects_total == total.garbage.objects_total);
        CHECK_FALSE(store.has_ref(store.layer.ref()));
        store.settle();
    }
    SECTION("by an image that is another one") {
        const auto other = store.images.layer("other", {{"usr/other", "other"}});
        const auto done = found([&] { store.images.image("oci:/images:one", {other}); });
        CHECK(done.garbage.removed_commits.contains(store.merge));
        CHECK(store.has_ref(other.ref()));
    }
    SECTION("by a ref that is damaged") {
        const auto done = found([&] {
            std::ofstream(store.home.path + "/refs/heads/new") << "nonsense";
            fs::rename(store.home.path + "/refs/heads/new", store.home.path + "/refs/heads/" + store.ref);
        });
        CHECK(done.damaged.size() == 1);
        CHECK_FALSE(store.prune().is_as_before);
    }
    SECTION("by a ref that is overwritten in place") {
        const auto done = found([&] { std::ofstream(store.home.path + "/refs/heads/" + store.ref) << "nonsense"; });
        CHECK(done.damaged.size() == 1);
    }
    SECTION("by an object that is gone") {
        const auto done = found([&] { fs::remove(store.images.path_of(store.merge, "commit")); });
        CHECK(done.damaged.size() == 1);
        CHECK_FALSE(store.prune().is_as_before);
        store.home.repository.set_ref(store.ref, std::nullopt);
        store.prune();
    }
    SECTION("by what a killed job left, which goes at once") {
        const auto left = store.home.path + "/tmp/imaged-1234";
        const auto done = found([&] {
            fs::create_directories(left);
            std::ofstream(left + "/left") << big;
        });
        CHECK(done.is_as_before);
        CHECK(done.bytes >= big.size());
        CHECK_FALSE(fs::exists(left));
    }
    SECTION("by a request for commits of others") {
        CHECK(store.prune(true, true).garbage.commits == 1);
        CHECK(store.prune(false, true).garbage.removed_commits.contains(store.foreign));
        CHECK(store.prune().garbage.foreign_commits == 0);
    }
    SECTION("by a deployment that comes, and by one that goes") {
        const auto deployment = store.home.directory.path + "/deploy/os/deploy/" + store.merge.hex() + ".0";
        found([&] { fs::create_directories(deployment); });
        store.home.repository.set_ref(store.ref, std::nullopt);
        store.settle();
        const auto done = found([&] { fs::remove_all(deployment); });
        CHECK(done.garbage.removed_commits.contains(store.merge));
    }
    SECTION("by a mark that a commit is partial") {
        fs::create_directories(store.home.path + "/state");
        store.settle();
        CHECK_FALSE(found([&] {
                        std::ofstream(store.home.path + "/state/" + store.merge.hex() + ".commitpartial");
                    }).is_as_before);
    }
    SECTION("by a record that is damaged, or not ours") {
        for (const char* text : {"", "{", "[]", R"({"state": 7})"}) {
            CHECK_FALSE(found([&] { std::ofstream(store.record) << text; }).is_as_before);
            store.settle();
        }
        CHECK_FALSE(found([&] { fs::permissions(store.record, fs::perms::all); }).is_as_before);
    }
    SECTION("but not by a prune that looks only") {
        fs::remove(store.record);
        CHECK_FALSE(store.prune(true).is_as_before);
        CHECK_FALSE(fs::exists(store.record));
    }
}

TEST_CASE("Symbolic links to directories of refs are followed") {
    const auto* const part = GENERATE("refs", "refs/heads", "refs/heads/ostree", "refs/heads/ostree/container/image");
    CAPTURE(part);
    PrunedStore store;
    store.images.image("oci:/images:kept", {store.images.layer("kept", {{"usr/kept", "kept"}})});
    store.images.image("oci:/images:gone", {store.images.layer("gone", {{"usr/gone", "gone"}})});
    const fs::path place = fs::path(store.home.path) / part, moved = store.home.directory.path + "/moved";
    fs::rename(place, moved);
    fs::create_directory_symlink(moved, place);
    // A link to a directory that it is in gives no ref another name.
    fs::create_directory_symlink(".", moved / "again");
    const auto refs = store.home.repository.all_refs();
    CHECK(refs.size() == 4);
    RefState state(store.home.repository);
    state.refresh();
    CHECK(state.refs().size() == 2);  // those of layers are not listed
    CHECK(store.home.repository.refs(layer_ref_directories.front()).size() == 2);
    CHECK(store.prune().garbage.objects == 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(150));  // until the record of the prune may be kept
    CHECK(store.prune().garbage.objects == 0);
    // A change behind the link is noticed, by what listed the refs before and by the record of the prune.
    const auto removed = image_ref(ImageReference::parse("oci:/images:gone"));
    fs::remove(fs::path(store.home.path) / "refs/heads" / removed);
    CHECK(state.refresh());
    CHECK(store.prune().garbage.objects > 0);
    CHECK(store.home.repository.all_refs().size() == 2);

    fs::remove(moved / "again");
    fs::rename(moved, store.home.directory.path + "/elsewhere");
    CHECK_THROWS_AS(store.prune(), Error);
    fs::remove(place);
    fs::rename(store.home.directory.path + "/elsewhere", place);
    fs::create_symlink("nowhere", fs::path(store.home.path) / "refs/heads/foreign");
    CHECK_THROWS_AS(store.prune(false, true), Error);
    CHECK(store.prune().garbage.objects == 0);
    fs::remove(fs::path(store.home.path) / "refs/heads/foreign");
    CHECK(store.prune().garbage.objects == 0);
    store.fsck();
}
