// SPDX-License-Identifier: Apache-2.0
#include "store/files/kept-ref.hpp"

#include "catch.hpp"
#include "checksum-of.hpp"
#include "image-builder.hpp"
#include "store/records/kept-versions.hpp"
#include "store/upkeep/layer-use.hpp"

using namespace imaged;

namespace {

const std::string name = "oci:/srv/a";

struct KeptStore {
    TemporaryRepository home;
    ImageBuilder images{home};
    const std::string ref = image_ref(ImageReference::parse(name));

    // The merge commit of another version.
    Checksum version(const std::string& content) {
        return images.merge({images.layer(content, {{"usr/version", content}})});
    }
    void keep(std::uint64_t number, const Checksum& commit) {
        home.repository.set_ref("imaged/kept/oci_3A__2F_srv/a/version." + std::to_string(number), commit);
    }
    void set(const std::string& to, const std::optional<Checksum>& commit) { home.repository.set_ref(to, commit); }
    std::vector<std::uint64_t> surplus(unsigned keep) {
        std::vector<std::uint64_t> numbers;
        for (const auto& [kept, commit] : surplus_versions(home.repository, keep))
            numbers.push_back(parse_kept_ref(kept)->second);
        return numbers;
    }
};

}  // namespace

TEST_CASE("the ref that keeps a version follows those that are there") {
    KeptStore store;
    const auto first = store.version("1"), second = store.version("2");
    const int repository = store.home.repository.fd();
    CHECK_FALSE(ref_to_keep(repository, store.ref, first));
    store.set(store.ref, first);
    CHECK_FALSE(ref_to_keep(repository, store.ref, first));
    const auto kept = ref_to_keep(repository, store.ref, second);
    REQUIRE(kept);
    CHECK(kept->ref == "imaged/kept/oci_3A__2F_srv/a/version.1");
    CHECK(kept->commit == first);
    store.set(kept->ref, kept->commit);
    // A job that ended here has kept it.
    CHECK_FALSE(ref_to_keep(repository, store.ref, second));
    store.set(store.ref, second);
    store.keep(10, first);
    CHECK(ref_to_keep(repository, store.ref, first)->ref == "imaged/kept/oci_3A__2F_srv/a/version.11");
    CHECK(kept_refs(repository, store.ref).front().number == 10);
}

TEST_CASE("what is no ref of a kept version is none") {
    for (const char* ref : {"imaged/kept/version.1", "imaged/kept//version.1", "imaged/kept/a/version.01",
                            "imaged/kept/a/version.", "imaged/kept/a/version.1x", "imaged/kept/a/1",
                            "imaged/kept/a/version.18446744073709551615", "imaged/derived/a/version.1"}) {
        INFO(ref);
        CHECK_FALSE(parse_kept_ref(ref));
    }
    CHECK(parse_kept_ref("imaged/kept/a/b/version.7") == std::pair(std::string("ostree/container/image/a/b"), 7UL));
}

TEST_CASE("an image whose name goes on where another's ends can be kept beside it") {
    KeptStore store;
    store.keep(1, store.version("1"));
    const auto below = image_ref(ImageReference::parse(name + "/b"));
    store.set(below, store.version("2"));
    const auto kept = ref_to_keep(store.home.repository.fd(), below, store.version("3"));
    REQUIRE(kept);
    REQUIRE_NOTHROW(store.set(kept->ref, kept->commit));
    CHECK(kept_refs(store.home.repository.fd(), store.ref).size() == 1);
    CHECK(kept_refs(store.home.repository.fd(), below).size() == 1);
}

TEST_CASE("the latest versions stay, each once, and none that is current or cannot be read") {
    KeptStore store;
    const auto a = store.version("a"), b = store.version("b"), c = store.version("c"), d = store.version("d");
    store.set(store.ref, d);
    store.keep(1, a);
    store.keep(2, b);
    store.keep(3, c);
    store.keep(4, b);
    store.keep(5, d);
    store.keep(6, checksum_of('0'));
    CHECK(store.surplus(3) == std::vector<std::uint64_t>{2, 5, 6});
    CHECK(store.surplus(1) == std::vector<std::uint64_t>{1, 2, 3, 5, 6});
    CHECK(store.surplus(0) == std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6});
    const auto versions = kept_versions(store.home.repository, store.ref);
    REQUIRE(versions.size() == 3);
    CHECK(versions[0].image.merge_commit == b);
    CHECK(versions[1].image.merge_commit == c);
    CHECK(versions[2].image.merge_commit == a);
    SECTION("one that an alias names stays") {
        REQUIRE(std::system(("ostree refs --repo=" + store.home.path +
                             " --create=mine --alias imaged/kept/oci_3A__2F_srv/a/version.1")
                                .c_str()) == 0);
        CHECK(store.surplus(1) == std::vector<std::uint64_t>{2, 3, 5, 6});
    }
    SECTION("of an image that is gone none stays") {
        store.set("ostree/container/image/other", a);
        store.home.repository.set_ref(store.ref, std::nullopt);
        CHECK(store.surplus(3).size() == 6);
    }
}

TEST_CASE("layers of versions that are kept are in use") {
    KeptStore store;
    const auto layer = store.images.layer("only there", {{"usr/file", "content"}});
    store.set(store.ref, store.version("now"));
    store.keep(1, store.images.merge({layer}));
    CHECK_FALSE(LayerUse::find(store.home.repository).unused.contains(layer.ref()));
    const auto dropped = surplus_versions(store.home.repository, 0);
    CHECK(LayerUse::find(store.home.repository, dropped).unused.contains(layer.ref()));
}
