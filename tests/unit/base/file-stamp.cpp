// SPDX-License-Identifier: Apache-2.0
#include "base/file-stamp.hpp"

#include <fcntl.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/scratch-directory.hpp"
#include "catch.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

// Longer than is_settled() takes for "a moment ago".
constexpr auto a_clock_tick = std::chrono::milliseconds(150);

struct Watched {
    ScratchDirectory home;
    fs::path path = home.path() / "directory";
    DirectoryStamp stamp;

    bool refresh() { return stamp.refresh(AT_FDCWD, path); }
    void settle() {
        std::this_thread::sleep_for(a_clock_tick);
        refresh();
    }
    void write(const char* name, const char* text) const { std::ofstream(path / name) << text; }
};

}  // namespace

TEST_CASE("a directory that has settled may have changed if a name in it was made, moved or removed, and not else") {
    Watched watched;
    CHECK_FALSE(watched.refresh());
    CHECK_FALSE(watched.stamp.exists());
    fs::create_directory(watched.path);
    CHECK(watched.refresh());
    CHECK(watched.stamp.exists());
    const auto expect = [&](bool changed) {
        CHECK(watched.refresh() == changed);
        watched.settle();
        CHECK_FALSE(watched.refresh());
    };
    watched.settle();
    CHECK_FALSE(watched.refresh());
    watched.write("one", "1");
    expect(true);
    watched.write("one", "2");
    expect(false);
    watched.write("other", "3");
    watched.settle();
    fs::rename(watched.path / "other", watched.path / "one");
    expect(true);
    fs::remove(watched.path / "one");
    expect(true);
    watched.stamp.distrust();
    CHECK(watched.refresh());
    fs::remove(watched.path);
    CHECK(watched.refresh());
    CHECK_FALSE(watched.stamp.exists());
    CHECK_FALSE(watched.refresh());
    std::ofstream(watched.path) << "a file";
    CHECK_FALSE(watched.refresh());
}

TEST_CASE("a directory that changed a moment ago may have changed again") {
    Watched watched;
    fs::create_directory(watched.path);
    for (int i = 0; i < 20; ++i) {
        watched.write("one", "1");
        fs::rename(watched.path / "one", watched.path / "other");
        CHECK(watched.refresh());
    }
    CHECK(watched.refresh());
    watched.settle();
    CHECK_FALSE(watched.refresh());
}

TEST_CASE("another file under a name has another stamp") {
    Watched watched;
    fs::create_directory(watched.path);
    const auto stamp = [&] { return FileStamp::of(AT_FDCWD, watched.path / "one"); };
    CHECK(stamp() == FileStamp());
    watched.write("one", "1");
    const auto first = stamp();
    CHECK_FALSE(first == FileStamp());
    CHECK(stamp() == first);
    watched.write("other", "22");
    fs::rename(watched.path / "other", watched.path / "one");
    CHECK_FALSE(stamp() == first);
    fs::remove(watched.path / "one");
    fs::create_symlink("/etc/hostname", watched.path / "one");
    CHECK(stamp().size == std::string("/etc/hostname").size());
}

TEST_CASE("a time of whole seconds may be that of a file system that knows no others") {
    constexpr std::int64_t second = 1'000'000'000;
    const auto now = now_in_nanoseconds(), whole = now / second * second;
    CHECK_FALSE(is_settled(whole - second));
    CHECK(is_settled(whole - 3 * second));
    CHECK(is_settled(whole - second + 1));
}
