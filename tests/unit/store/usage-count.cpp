// SPDX-License-Identifier: Apache-2.0
#include "store/upkeep/usage-count.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "image-builder.hpp"
#include "store/records/ref-state.hpp"
#include "store/upkeep/prune.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

struct CountedStore {
    TemporaryRepository home;
    ImageBuilder images{home};
    Cancellation cancellation;
    Nobody nobody;

    Usage count() { return count_usage(home.path, 0, nullptr, cancellation, nobody); }
    UsageRecord::Size size_of(const std::string& image) {
        const auto usage = count();
        const auto found =
            std::find_if(usage.users.begin(), usage.users.end(), [&](const auto& user) { return user.name == image; });
        REQUIRE(found != usage.users.end());
        return found->size;
    }
    // What removing IMAGE and a prune free of objects.
    std::uint64_t removed(const std::string& image) {
        const auto before = count().bytes;
        remove_images(home.path, {ImageReference::parse(image)}, cancellation);
        prune({home.path}, cancellation, nobody);
        return before - count().bytes;
    }
};

const std::string large_content(100'000, 'x'), large(50'000, 'y');
const std::string first = "docker://example.org/a:1", second = "docker://example.org/b:1";

}  // namespace

TEST_CASE("what only one image needs is unique, be it shared by layer or by file") {
    CountedStore store;
    const auto base = store.images.layer("base", {{"usr/base", large_content}}),
               own = store.images.layer("own", {{"usr/own", large}, {"usr/elsewhere", "the same"}}),
               other = store.images.layer("other", {{"usr/there", "the same"}, {"usr/other", large_content + large}});
    store.images.image(first, {base, own});
    store.images.image(second, {base, other});
    const auto one = store.size_of(first), two = store.size_of(second);
    REQUIRE(one.bytes > 150'000);
    REQUIRE(one.unique >= 50'000);
    REQUIRE(one.unique < 100'000);
    REQUIRE(two.unique >= 150'000);
    const auto usage = store.count();
    REQUIRE(usage.kinds.at(UserKind::image).bytes == usage.bytes);
    REQUIRE(usage.prunable == 0);
    REQUIRE(store.removed(first) == one.unique);
    // Nothing is shared any more.
    const auto alone = store.size_of(second);
    REQUIRE(alone.unique == alone.bytes);
    REQUIRE(alone.bytes == two.bytes);
    REQUIRE(store.removed(second) == alone.unique);
    REQUIRE(store.count().bytes == 0);
}

TEST_CASE("a directory that is named in very many places is looked at once") {
    CountedStore store;
    const auto sink = store.home.repository.make_sink(store.home.staging, store.home.pool);
    const auto meta = sink->put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, 040755, nullptr}));
    auto tree =
        sink->put_metadata(ObjectType::dirtree, serialise_dirtree({{{"file", store.images.file(large_content)}}, {}}));
    // 2^200 places.
    for (int depth = 0; depth < 200; ++depth)
        tree = sink->put_metadata(ObjectType::dirtree, serialise_dirtree({{}, {{"a", tree, meta}, {"b", tree, meta}}}));
    CommitContent content;
    content.tree = tree;
    content.meta = meta;
    const auto commit = sink->put_metadata(ObjectType::commit, serialise_commit(content));
    sink->publish();
    store.home.repository.set_ref("their/branch", commit);
    const auto usage = store.count();
    REQUIRE(usage.objects == 204);
    REQUIRE(usage.users.size() == 1);
    REQUIRE(usage.users.front().kind == UserKind::ref);
    REQUIRE(usage.users.front().size.bytes == usage.bytes);
    REQUIRE(usage.users.front().damage.empty());
}

TEST_CASE("objects that are no objects do not end the count") {
    CountedStore store;
    store.images.image(first, {store.images.layer("base", {{"usr/base", large_content}})});
    const auto before = store.count();
    const auto place = store.home.path + "/objects/00/";
    fs::create_directories(place + std::string(62, '1') + ".dirtree");
    fs::create_symlink("/etc/passwd", place + std::string(62, '2') + ".commit");
    std::ofstream(place + std::string(62, '3') + ".dirtree") << "nonsense";
    std::ofstream(place + std::string(62, '4') + ".unheard-of") << "nonsense";
    std::ofstream(place + "nonsense") << "nonsense";
    const auto after = store.count();
    REQUIRE(after.users.size() == before.users.size() + 1);  // a commit that no ref names
    REQUIRE(after.users.front().size.unique == before.users.front().size.unique);
    REQUIRE(after.users.front().damage.empty());
}

TEST_CASE("a count of what changed gives what a count of everything gives") {
    CountedStore store;
    auto& home = store.home;
    const auto base = store.images.layer("base", {{"usr/base", large_content}});
    store.images.image(first, {base, store.images.layer("own", {{"usr/own", large}})});
    store.images.image(second, {base, store.images.layer("other", {{"usr/other", large + "x"}})});
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(home.path + "/objects")) {
        if (entry.path().extension() == ".file") files.push_back(entry.path());
    }
    REQUIRE(files.size() == 3);
    // Directories are listed again until they are older than a tick of the clock of the file system.
    const auto recounted = [&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(150));
        recount_images(home.path, 0, FactsUse::known, store.cancellation);
        RefState state(home.repository);
        state.refresh();
        std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> sizes;
        const auto record = UsageRecord::read(home.repository.fd());
        for (const auto& image : {first, second}) {
            if (const auto* size = record.size_of(image, state.value())) sizes[image] = {size->bytes, size->unique};
        }
        return sizes;
    };
    const auto counted = [&] {
        std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> sizes;
        for (const auto& user : store.count().users) {
            if (user.kind == UserKind::image && user.damage.empty())
                sizes[user.name] = {user.size.bytes, user.size.unique};
        }
        return sizes;
    };
    for (const auto& file : files) fs::create_hard_link(file, home.path + "/tmp/" + file.stem().string());
    const auto linked = recounted();
    REQUIRE(linked == counted());
    REQUIRE(recounted() == linked);
    // The directories of objects do not change by what is done to links elsewhere.
    for (const auto& file : files) fs::remove(home.path + "/tmp/" + file.stem().string());
    const auto before = recounted();
    REQUIRE(before == counted());
    REQUIRE(before.at(first).second > linked.at(first).second + 50'000);
    REQUIRE(recounted() == before);

    fs::remove(files.front());
    REQUIRE(recounted() == counted());
    REQUIRE(recounted() != before);
    store.images.image(first, {base});
    REQUIRE(recounted() == counted());
    // Detached metadata is replaced under the same name.
    const auto commit = home.repository.resolve(image_ref(ImageReference::parse(second))).commit.value();
    for (const std::size_t size : {100, 20'000, 100}) {
        const auto metadata = adopt_variant(g_variant_new_parsed("{'k': <%s>}", std::string(size, 'x').c_str()));
        home.repository.write_detached_metadata(
            commit, {static_cast<const char*>(g_variant_get_data(metadata.get())), g_variant_get_size(metadata.get())});
        REQUIRE(recounted() == counted());
    }
    // A commit of another program.
    home.repository.set_ref("their/branch", base.commit);
    home.repository.set_ref("their/branch", std::nullopt);
    // Without a ref such a commit keeps what it has, and that of an image that is gone keeps nothing.
    const auto sink = home.repository.make_sink(home.staging, home.pool);
    const auto own = store.images.layer("own", {{"usr/own", large}});
    const auto content = home.repository.load_commit(own.commit);
    CommitContent theirs;
    theirs.tree = content.tree;
    theirs.meta = content.meta;
    theirs.timestamp = 1;
    const auto their_commit = sink->put_metadata(ObjectType::commit, serialise_commit(theirs));
    sink->publish();
    store.images.image(first, {base, own});
    const auto with_theirs = recounted();
    REQUIRE(with_theirs == counted());
    REQUIRE(recounted() == with_theirs);
    home.repository.delete_commit(their_commit);
    const auto last = recounted();
    REQUIRE(last == counted());
    REQUIRE(last != with_theirs);
    REQUIRE(recounted() == last);
}

TEST_CASE("what is known of objects is appended, and a damaged record makes no size wrong") {
    CountedStore store;
    auto& home = store.home;
    const auto record = fs::path(home.path) / "extensions/imaged/objects";
    const auto base = store.images.layer("base", {{"usr/base", large_content}});
    int number = 0;
    // After another layer has come.
    const auto recount = [&] {
        const auto name = "own" + std::to_string(++number);
        store.images.image(first, {base, store.images.layer(name, {{"usr/" + name, large}})});
        std::this_thread::sleep_for(std::chrono::milliseconds(150));
        recount_images(home.path, 0, FactsUse::known, store.cancellation);
        RefState state(home.repository);
        state.refresh();
        const auto usage = UsageRecord::read(home.repository.fd());
        const auto* size = usage.size_of(first, state.value());
        REQUIRE(size != nullptr);
        const auto recorded = *size, counted = store.size_of(first);
        REQUIRE(recorded.bytes == counted.bytes);
        REQUIRE(recorded.unique == counted.unique);
    };
    const auto inode = [&] {
        struct stat status;
        REQUIRE(::stat(record.c_str(), &status) == 0);
        return status.st_ino;
    };
    const auto before = (recount(), inode());
    const auto size = fs::file_size(record);
    recount();
    REQUIRE(inode() == before);
    REQUIRE(fs::file_size(record) > size);
    // It does not grow forever.
    for (int i = 0; i < 30; ++i) recount();
    REQUIRE(fs::file_size(record) < 4 * size);

    const auto damaged = [&](const auto& damage) {
        const auto undamaged = inode();
        damage();
        recount();
        REQUIRE(inode() != undamaged);
        recount();
    };
    damaged([&] { fs::resize_file(record, fs::file_size(record) - 5); });
    damaged([&] { fs::resize_file(record, fs::file_size(record) + 5000); });
    damaged([&] { std::ofstream(record, std::ios::app) << "nonsense"; });
    damaged([&] { std::fstream(record, std::ios::in | std::ios::out).seekp(1000) << "nonsense"; });
    damaged([&] { fs::resize_file(record, 3); });
}

TEST_CASE("the state changes with each ref that keeps objects, and with no other") {
    CountedStore store;
    const auto layer = store.images.layer("base", {{"usr/base", large_content}});
    const auto commit = store.images.image(first, {layer});
    RefState state(store.home.repository);
    const auto changed = [&] {
        const auto before = state.value();
        state.refresh();
        return state.value() != before;
    };
    REQUIRE(changed());
    REQUIRE_FALSE(changed());
    for (const auto* ref : {"their/branch", "ostree/0/1/0", "rpmostree/base/1", "ostree/container/baseimage/host",
                            "imaged/kept/docker_3A__2F__2F_example_2E_org/a_3A_1/version.1"}) {
        CAPTURE(ref);
        store.home.repository.set_ref(ref, commit);
        REQUIRE(changed());
        store.home.repository.set_ref(ref, std::nullopt);
        REQUIRE(changed());
    }
    for (const auto* directory : {"remotes/there", "mirrors/org.example.Collection"}) {
        CAPTURE(directory);
        const auto path = store.home.path + "/refs/" + directory + "/branch";
        fs::create_directories(fs::path(path).parent_path());
        std::ofstream(path) << commit.hex() << "\n";
        REQUIRE(changed());
    }
    store.images.layer("another", {{"usr/another", large_content}});
    REQUIRE_FALSE(changed());
}
