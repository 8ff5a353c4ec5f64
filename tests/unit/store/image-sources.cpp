// SPDX-License-Identifier: Apache-2.0
#include "store/records/image-sources.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "catch.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

namespace {

const std::string image = "docker://registry.example/os:1", other = "docker://registry.example/os:2",
                  source = "oci:/srv/os:1";

struct SourcesStore {
    TemporaryRepository home;
    const int fd = home.repository.fd();
    const std::filesystem::path records = std::filesystem::path(home.path) / "extensions/imaged";
    const std::filesystem::path former = records / "sources.json";

    // As earlier versions keep them.
    void write_former(const std::string& text) const {
        std::filesystem::create_directories(records);
        std::ofstream(former) << text;
    }
    std::filesystem::path file(const std::string& of) const {
        return records / "sources" / image_record_name(image_record_number(of));
    }
    // What a listing says.
    std::string listed(const std::string& of) const {
        ImageSources sources(fd);
        sources.refresh();
        const auto* const found = sources.of(of);
        return found == nullptr ? of : *found;
    }
    void check(const std::string& of, const std::string& expected) const {
        CHECK(image_source(fd, of) == expected);
        CHECK(listed(of) == expected);
    }
};

std::string numbered(int i) {
    return "docker://registry.example/other:" + std::to_string(i);
}

}  // namespace

TEST_CASE("the source of an image is its name unless another one was noted") {
    const SourcesStore store;
    store.check(image, image);
    note_image_source(store.fd, image, source);
    note_image_source(store.fd, other, archive_source);
    store.check(image, source);
    store.check(other, archive_source);
    note_image_source(store.fd, image, archive_source);
    store.check(image, archive_source);
    note_image_source(store.fd, image, image);
    store.check(image, image);
    store.check(other, archive_source);
    forget_image_sources(store.fd, {image, other});
    store.check(other, other);
}

TEST_CASE("what a source costs to note or to forget does not depend on how many images have one") {
    const SourcesStore store;
    std::set<std::string> half;
    for (int i = 0; i < 1000; ++i) {
        note_image_source(store.fd, numbered(i), archive_source);
        if (i % 2 == 0) half.insert(numbered(i));
    }
    note_image_source(store.fd, image, source);
    for (const auto& entry : std::filesystem::directory_iterator(store.records / "sources"))
        CHECK(entry.file_size() < 20 * 60);  // four images are the mean
    CHECK_FALSE(std::filesystem::exists(store.former));
    forget_image_sources(store.fd, half);
    ImageSources sources(store.fd);
    CHECK(sources.refresh());
    for (int i = 0; i < 1000; ++i) CHECK((sources.of(numbered(i)) == nullptr) == (i % 2 == 0));
    CHECK(*sources.of(image) == source);
    // Nothing is written if nothing changes.
    const auto before = FileStamp::of(store.fd, store.file(image));
    note_image_source(store.fd, image, source);
    forget_image_sources(store.fd, half);
    CHECK(FileStamp::of(store.fd, store.file(image)) == before);
}

TEST_CASE("sources in one file count until the first job moves them") {
    const SourcesStore store;
    store.write_former(R"({")" + image + R"(": ")" + source + R"(", ")" + other + R"(": "archive"})");
    store.check(image, source);
    store.check(other, archive_source);
    SECTION("by noting one") {
        note_image_source(store.fd, numbered(1), source);
        store.check(numbered(1), source);
        store.check(image, source);
    }
    SECTION("by noting one of them") {
        note_image_source(store.fd, image, archive_source);
        store.check(image, archive_source);
    }
    SECTION("by forgetting one") {
        forget_image_sources(store.fd, {image});
        store.check(image, image);
    }
    CHECK_FALSE(std::filesystem::exists(store.former));
    store.check(other, archive_source);
}

TEST_CASE("while there is one file with all sources, nothing else counts") {
    const SourcesStore store;
    // By a version that was used again after a newer one, or by a move that did not end.
    note_image_source(store.fd, image, source);
    note_image_source(store.fd, numbered(1), source);
    store.write_former(R"({")" + other + R"(": "archive"})");
    store.check(image, image);
    store.check(other, archive_source);
    note_image_source(store.fd, other, source);
    store.check(other, source);
    store.check(image, image);
    store.check(numbered(1), numbered(1));
    // One that is damaged has none.
    store.write_former("{");
    store.check(other, other);
    note_image_source(store.fd, image, source);
    store.check(image, source);
    store.check(other, other);
    CHECK_FALSE(std::filesystem::exists(store.former));
    // One that others may write is not ours: it is not there.
    store.write_former(R"({")" + other + R"(": "archive"})");
    std::filesystem::permissions(store.former, std::filesystem::perms::all);
    store.check(other, other);
    store.check(image, source);
}

TEST_CASE("a listing sees what is noted, moved and forgotten at any time after it looked") {
    using namespace std::chrono_literals;
    for (const auto pause : {0ms, 150ms}) {
        const SourcesStore store;
        ImageSources sources(store.fd);
        const auto expect = [&](const std::string& of, const std::string& expected) {
            std::this_thread::sleep_for(pause);
            CHECK(sources.refresh());
            CHECK(sources.has_changed(of));
            const auto* const found = sources.of(of);
            CHECK((found == nullptr ? of : *found) == expected);
            sources.forget();
            CHECK_FALSE(sources.has_changed(of));
            // Also of a file that is not in memory any more.
            const auto* const again = sources.of(of);
            CHECK((again == nullptr ? of : *again) == expected);
            sources.forget();
            CHECK_FALSE(sources.refresh());
        };
        CHECK_FALSE(sources.refresh());
        store.write_former(R"({")" + image + R"(": "archive"})");
        expect(image, archive_source);
        note_image_source(store.fd, other, source);
        expect(image, archive_source);
        note_image_source(store.fd, image, source);
        expect(image, source);
        forget_image_sources(store.fd, {image});
        expect(image, image);
    }
}

TEST_CASE("Two processes that note sources lose none") {
    SourcesStore store;
    // They open the lock by themselves, as two processes do.
    const auto note = [&](int from) {
        for (int i = from; i < 600; i += 2) note_image_source(store.fd, numbered(i), source);
    };
    std::thread even([&] { note(0); });
    note(1);
    even.join();
    for (int i = 0; i < 600; ++i) REQUIRE(image_source(store.fd, numbered(i)) == source);
    CHECK((std::filesystem::status(store.records / "lock").permissions() & std::filesystem::perms::others_all) ==
          std::filesystem::perms::none);
}
