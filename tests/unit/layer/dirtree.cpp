// SPDX-License-Identifier: Apache-2.0
#include "layer/dirtree.hpp"

#include <random>

#include "base/error.hpp"
#include "base/glib.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

constexpr const char* format = "(a(say)a(sayay))";

GVariant* variant_of(const Checksum& checksum) {
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, checksum.bytes.data(), checksum.bytes.size(), 1);
}

// What GLib makes of the listing: the definition of the format.
std::string serialise_with_glib(const DirectoryListing& listing) {
    GVariantBuilder files, directories;
    g_variant_builder_init(&files, G_VARIANT_TYPE("a(say)"));
    for (const auto& file : listing.files)
        g_variant_builder_add(&files, "(s@ay)", file.name.c_str(), variant_of(file.object));
    g_variant_builder_init(&directories, G_VARIANT_TYPE("a(sayay)"));
    for (const auto& directory : listing.directories)
        g_variant_builder_add(&directories, "(s@ay@ay)", directory.name.c_str(), variant_of(directory.tree),
                              variant_of(directory.meta));
    const auto variant = adopt_variant(g_variant_new(format, &files, &directories));
    return {static_cast<const char*>(g_variant_get_data(variant.get())), g_variant_get_size(variant.get())};
}

DirectoryListing random_listing(std::mt19937& random, std::size_t files, std::size_t directories,
                                std::size_t longest_name) {
    // No two alike.
    unsigned number = 0;
    const auto name = [&] {
        return std::string(1 + random() % longest_name, static_cast<char>('a' + random() % 26)) +
               std::to_string(number++);
    };
    const auto checksum = [&] {
        Checksum value;
        for (auto& byte : value.bytes) byte = static_cast<std::uint8_t>(random());
        return value;
    };
    DirectoryListing listing;
    for (std::size_t i = 0; i < files; ++i) listing.files.push_back({name(), checksum()});
    for (std::size_t i = 0; i < directories; ++i) listing.directories.push_back({name(), checksum(), checksum()});
    return listing;
}

bool equal(const DirectoryListing& a, const DirectoryListing& b) {
    const auto same_file = [](const auto& x, const auto& y) { return x.name == y.name && x.object == y.object; };
    const auto same_directory = [](const auto& x, const auto& y) {
        return x.name == y.name && x.tree == y.tree && x.meta == y.meta;
    };
    return std::equal(a.files.begin(), a.files.end(), b.files.begin(), b.files.end(), same_file) &&
           std::equal(a.directories.begin(), a.directories.end(), b.directories.begin(), b.directories.end(),
                      same_directory);
}

}  // namespace

TEST_CASE("dirtrees have the bytes that GLib gives them, at every width of offset", "[dirtree]") {
    const auto seed = std::random_device()();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto check = [&](std::size_t files, std::size_t directories, std::size_t longest_name) {
        const auto listing = random_listing(random, files, directories, longest_name);
        const auto bytes = serialise_dirtree(listing);
        INFO(files << " files, " << directories << " directories");
        REQUIRE(bytes == serialise_with_glib(listing));
        REQUIRE(equal(parse_dirtree(bytes), listing));
    };
    check(0, 0, 1);
    for (int round = 0; round < 300; ++round) check(random() % 12, random() % 8, 250);
    for (int round = 0; round < 5; ++round) check(1000 + random() % 1500, random() % 900, 60);
}

TEST_CASE("a dirtree that is cut short or changed is refused or parsed, never read past its end", "[dirtree]") {
    std::mt19937 random(1);
    const auto whole = serialise_dirtree(random_listing(random, 4, 3, 30));
    const auto survives = [](const std::string& bytes) {
        // A copy of its own, so that a sanitizer sees any byte beyond.
        const std::string copy(bytes);
        try {
            parse_dirtree(copy);
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::repository_damaged);
        }
    };
    for (std::size_t size = 0; size < whole.size(); ++size) survives(whole.substr(0, size));
    for (std::size_t i = 0; i < whole.size(); ++i) {
        for (const unsigned flip : {1U, 0x80U, 0xffU}) {
            auto changed = whole;
            changed[i] = static_cast<char>(static_cast<unsigned char>(changed[i]) ^ flip);
            survives(changed);
        }
    }
}

TEST_CASE("names that no directory can hold are refused", "[dirtree]") {
    for (const auto& name : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                             std::string("\xff"), std::string("a\xc3"), std::string(256, 'a')}) {
        INFO(name);
        CHECK_THROWS_AS(parse_dirtree(serialise_dirtree({{{name, Checksum{}}}, {}})), Error);
        CHECK_THROWS_AS(parse_dirtree(serialise_dirtree({{}, {{name, Checksum{}, Checksum{}}}})), Error);
    }
}

TEST_CASE("a directory with one name twice is neither written nor read", "[dirtree]") {
    const Checksum any;
    const std::vector<DirectoryListing> listings{
        {{{"a", any}, {"a", any}}, {}},
        {{}, {{"a", any, any}, {"a", any, any}}},
        {{{"a", any}, {"b", any}, {"c", any}}, {{"b", any, any}}},
        {{{"c", any}, {"a", any}, {"b", any}}, {{"z", any, any}, {"c", any, any}}},
    };
    for (const auto& listing : listings) {
        CHECK_THROWS_AS(serialise_dirtree(listing), Error);
        try {
            parse_dirtree(serialise_with_glib(listing));
            FAIL("it was read");
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::repository_damaged);
            CHECK(std::string(error.what()).find("two entries with the name") != std::string::npos);
        }
    }
}

TEST_CASE("single names are found in a dirtree") {
    std::mt19937 random(5);
    for (const std::size_t count : {0U, 1U, 2U, 3U, 100U, 3000U}) {
        auto listing = random_listing(random, count, count / 2, 30);
        const auto earlier = [](const auto& a, const auto& b) { return a.name < b.name; };
        std::sort(listing.files.begin(), listing.files.end(), earlier);
        std::sort(listing.directories.begin(), listing.directories.end(), earlier);
        const auto bytes = serialise_dirtree(listing);
        const DirtreeView view(bytes);
        for (const auto& file : listing.files) {
            REQUIRE(view.file(file.name) == file.object);
            REQUIRE(!view.directory(file.name));
            REQUIRE(!view.file(file.name + "x"));
        }
        for (const auto& directory : listing.directories) REQUIRE(view.directory(directory.name) == directory.tree);
        CHECK(!view.file(""));
        CHECK(!view.directory("~"));
    }
}

TEST_CASE("looking for names in bytes that are no dirtree ends") {
    std::mt19937 random(6);
    auto listing = random_listing(random, 40, 20, 20);
    const auto right = serialise_dirtree(listing);
    for (int round = 0; round < 20'000; ++round) {
        auto bytes = right.substr(0, round % 3 == 0 ? random() % right.size() : right.size());
        for (int change = 0; change < 3 && !bytes.empty(); ++change)
            bytes[random() % bytes.size()] = static_cast<char>(random());
        try {
            const DirtreeView view(bytes);
            view.file(listing.files[random() % 40].name);
            view.directory(listing.directories[random() % 20].name);
        } catch (const Error& error) {
            REQUIRE(error.kind() == ErrorKind::repository_damaged);
        }
    }
}
