// SPDX-License-Identifier: Apache-2.0
#include "store/files/ref-listing.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.hpp"
#include "catch.hpp"
#include "checksum-of.hpp"
#include "temporary-repository.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

// Longer than a listing takes for "a moment ago".
constexpr auto a_while = std::chrono::milliseconds(150);

struct ListedRefs {
    TemporaryRepository home;
    RefListing listing{home.repository.fd(), "some"};
    const fs::path top = fs::path(home.path) / "refs/heads/some";

    // As every program writes a ref: another file takes the name.
    void set(const std::string& name, char digit) const {
        fs::create_directories((top / name).parent_path());
        const auto unfinished = top / "tmp.ref";
        std::ofstream(unfinished) << std::string(64, digit) << '\n';
        fs::rename(unfinished, top / name);
    }
    std::optional<Checksum> at(const std::string& name) const { return listing.refs().at("some/" + name); }
};

}  // namespace

TEST_CASE("refs are listed by their full names, and looked for without a list") {
    ListedRefs refs;
    CHECK_FALSE(refs.listing.refresh());
    CHECK(refs.listing.refs().empty());
    refs.set("one", '1');
    refs.set("deep/er/two", '2');
    CHECK(refs.listing.refresh());
    for (const auto* name : {"some/one", "some/deep/er/two"}) CHECK(refs.listing.find(name).exists);
    for (const auto* name :
         {"some", "some/", "some/deep", "some/deep/er", "some/deep/er/two/", "some/two", "somewhere/one", "one", ""})
        CHECK_FALSE(refs.listing.find(name).exists);
    CHECK(refs.listing.refs().size() == 2);
    CHECK(refs.at("one") == checksum_of('1'));
    CHECK(refs.at("deep/er/two") == checksum_of('2'));
}

TEST_CASE("a broken ref is listed without a commit, one of zeros with its own") {
    ListedRefs refs;
    refs.set("zeros", '0');
    refs.set("letters", 'x');
    std::ofstream(refs.top / "empty").close();
    fs::create_symlink("nowhere", refs.top / "link");
    refs.listing.refresh();
    const auto& repository = refs.home.repository;
    for (const auto* name : {"letters", "empty", "link"}) {
        INFO(name);
        CHECK_FALSE(refs.at(name));
        CHECK(refs.listing.find(std::string("some/") + name) == RefTarget{true, std::nullopt});
        CHECK(repository.resolve(std::string("some/") + name) == RefTarget{true, std::nullopt});
    }
    CHECK(refs.at("zeros") == checksum_of('0'));
    CHECK(repository.resolve("some/none") == RefTarget{});
    CHECK(whole(repository.refs("some")) == std::map<std::string, Checksum>{{"some/zeros", checksum_of('0')}});
}

TEST_CASE("a ref that is replaced is seen, whether it was written a moment ago or long before") {
    for (const auto pause : {std::chrono::milliseconds(0), a_while}) {
        ListedRefs refs;
        refs.set("other", '9');
        for (const char digit : {'1', '2', '3', '4', '5'}) {
            refs.set("one", digit);
            std::this_thread::sleep_for(pause);
            refs.listing.refresh();
            CHECK(refs.at("one") == checksum_of(digit));
            CHECK(refs.at("other") == checksum_of('9'));
        }
    }
}

TEST_CASE("an inode that a ref gets back tells nothing") {
    ListedRefs refs;
    refs.set("one", '1');
    std::this_thread::sleep_for(a_while);
    refs.listing.refresh();
    struct stat before, now;
    REQUIRE(::stat((refs.top / "one").c_str(), &before) == 0);
    // On some file systems the third file has the inode of the first.
    for (const char digit : {'2', '3', '4'}) {
        fs::remove(refs.top / "one");
        refs.set("one", digit);
        REQUIRE(::stat((refs.top / "one").c_str(), &now) == 0);
        if (now.st_ino == before.st_ino) break;
    }
    std::ifstream file(refs.top / "one");
    CHECK(refs.listing.refresh());
    CHECK(refs.at("one") == checksum_of(static_cast<char>(file.get())));
}

TEST_CASE("refs that are gone are not listed any more") {
    ListedRefs refs;
    for (const auto* name : {"one", "other", "deep/two"}) refs.set(name, '1');
    refs.listing.refresh();
    fs::remove(refs.top / "one");
    CHECK(refs.listing.refresh());
    CHECK_FALSE(refs.listing.find("some/one").exists);
    CHECK(refs.listing.refs().size() == 2);
    fs::remove_all(refs.top / "deep");
    CHECK(refs.listing.refresh());
    CHECK_FALSE(refs.listing.find("some/deep/two").exists);
    fs::remove_all(refs.top);
    CHECK(refs.listing.refresh());
    CHECK(refs.listing.refs().empty());
}

TEST_CASE("refs that could not be read for want of descriptors are read the next time") {
    ListedRefs refs;
    refs.set("one", '1');
    std::this_thread::sleep_for(a_while);
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    for (const bool is_known : {false, true}) {
        const rlimit none{3, before.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
        CHECK_THROWS_AS(refs.listing.refresh(), Error);
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        CHECK(refs.listing.refresh());
        CHECK(refs.at("one") == checksum_of(is_known ? '2' : '1'));
        refs.set("one", '2');
        std::this_thread::sleep_for(a_while);
    }
}

TEST_CASE("a directory that is read again, with the same refs in it, is no change") {
    ListedRefs refs;
    refs.set("one", '1');
    refs.set("deep/two", '2');
    CHECK(refs.listing.refresh());
    // A moment later, when it is not certain that nothing came in between.
    CHECK_FALSE(refs.listing.refresh());
    refs.set("one", '1');
    CHECK_FALSE(refs.listing.refresh());
    refs.set("one", '3');
    CHECK(refs.listing.refresh());
    fs::rename(refs.top / "one", refs.top / "other");
    CHECK(refs.listing.refresh());
    fs::create_directory(refs.top / "empty");
    CHECK(refs.listing.refresh());
    CHECK_FALSE(refs.listing.refresh());
    std::ofstream(refs.top / "other") << "nonsense";
    fs::rename(refs.top / "other", refs.top / "one");
    CHECK(refs.listing.refresh());
    CHECK(refs.listing.refresh());
}

TEST_CASE("what one process has read, another one reads again only where it changed") {
    ListedRefs refs;
    refs.set("one", '1');
    refs.set("deep/two", '2');
    refs.set("broken", 'x');
    std::this_thread::sleep_for(a_while);
    refs.listing.refresh();
    REQUIRE(refs.listing.has_news());
    const auto record = refs.listing.record();
    const auto restored = [&] {
        RefListing next(refs.home.repository.fd(), "some");
        next.restore(record);
        return next;
    };
    auto same = restored();
    same.refresh();
    CHECK(same.refs() == refs.listing.refs());
    std::ofstream(refs.top / "one") << std::string(64, '3');  // in place: the directory's time stays
    auto overwritten = restored();
    CHECK(overwritten.refresh());
    CHECK(overwritten.find("some/one").commit == checksum_of('3'));

    refs.set("deep/two", '4');
    refs.set("new/three", '5');
    fs::remove(refs.top / "broken");
    auto changed = restored();
    CHECK(changed.refresh());
    CHECK(changed.refs() ==
          std::unordered_map<std::string, std::optional<Checksum>>{{"some/one", checksum_of('3')},
                                                                   {"some/deep/two", checksum_of('4')},
                                                                   {"some/new/three", checksum_of('5')}});
    CHECK_THROWS_AS(restored().restore(record.substr(1)), Error);
}
