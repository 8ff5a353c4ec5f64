// SPDX-License-Identifier: Apache-2.0
#include "packages/rpm-database.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "../catch.hpp"
#include "base/error.hpp"
#include "packages/rpm-header.hpp"
#include "rpm-header-builder.hpp"

using namespace imaged;

namespace {

constexpr const char* rpm_table = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)";

// A database in memory, and its bytes.
class Database {
public:
    explicit Database(const std::string& schema = rpm_table) {
        REQUIRE(sqlite3_open(":memory:", &database_) == SQLITE_OK);
        run(schema);
    }
    ~Database() { sqlite3_close(database_); }
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    Database& run(const std::string& sql) {
        REQUIRE(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
        return *this;
    }
    Database& add(const std::string& header) {
        sqlite3_stmt* insert = nullptr;
        REQUIRE(sqlite3_prepare_v2(database_, "INSERT INTO Packages (blob) VALUES (?)", -1, &insert, nullptr) ==
                SQLITE_OK);
        sqlite3_bind_blob(insert, 1, header.data(), static_cast<int>(header.size()), SQLITE_TRANSIENT);
        REQUIRE(sqlite3_step(insert) == SQLITE_DONE);
        sqlite3_finalize(insert);
        return *this;
    }
    std::string bytes() const {
        sqlite3_int64 size = 0;
        auto* const image = sqlite3_serialize(database_, "main", &size, 0);
        std::string text(reinterpret_cast<char*>(image), static_cast<std::size_t>(size));
        sqlite3_free(image);
        return text;
    }

private:
    sqlite3* database_ = nullptr;
};

RandomFile file_of(const std::string& bytes) {
    return {bytes.size(), [&bytes](std::uint64_t offset, std::span<std::byte> buffer) {
                if (offset + buffer.size() > bytes.size()) throw std::out_of_range("outside of the file");
                std::memcpy(buffer.data(), bytes.data() + offset, buffer.size());
            }};
}

std::string rpm_packages_in(const std::string& bytes) {
    PackageSet set;
    const auto file = file_of(bytes);
    read_rpm_database(
        file, [] {}, set);
    std::string found;
    for (const auto& package : set.packages()) found += package.name + "=" + package.version + " ";
    return found;
}

}  // namespace

TEST_CASE("the packages of a database") {
    CHECK(rpm_packages_in(Database().bytes()).empty());
    Database database;
    database.add(rpm_header("b").str()).add(rpm_header("a", "2").str());
    // A header that goes over many pages.
    database.add(rpm_header("large").text(2000, std::string(100'000, 'x')).str());
    CHECK(rpm_packages_in(database.bytes()) == "a=2-1 b=1.0-1 large=1.0-1 ");
    // The mark of a database in WAL mode, as rpm's are.
    auto bytes = database.bytes();
    bytes[18] = bytes[19] = 2;
    CHECK(rpm_packages_in(bytes) == "a=2-1 b=1.0-1 large=1.0-1 ");
}

TEST_CASE("what is no database of rpm is refused") {
    CHECK_THROWS_AS(rpm_packages_in(""), Error);
    CHECK_THROWS_AS(rpm_packages_in("Package: a\n"), Error);
    CHECK_THROWS_AS(rpm_packages_in(std::string(8192, '\0')), Error);
    CHECK_THROWS_WITH(rpm_packages_in(Database("CREATE TABLE Other (blob)").bytes()), containing("no table Packages"));
    CHECK_THROWS_AS(
        rpm_packages_in(Database("CREATE TABLE Packages (hnum)").run("INSERT INTO Packages VALUES (1)").bytes()),
        Error);
    CHECK_THROWS_WITH(
        rpm_packages_in(Database("CREATE TABLE Packages (blob)").run("INSERT INTO Packages VALUES ('text')").bytes()),
        containing("no header"));
    CHECK_THROWS_WITH(rpm_packages_in(Database().add("").bytes()), containing("is cut"));
}

TEST_CASE("nothing that a schema says is run") {
    const std::string header = "(SELECT x'" + std::string(16, '0') + "' AS blob)";
    CHECK_THROWS_WITH(rpm_packages_in(Database("CREATE VIEW Packages AS SELECT * FROM " + header).bytes()),
                      containing("no table"));
    CHECK_THROWS_AS(rpm_packages_in(Database("CREATE TABLE Packages (a, blob AS (zeroblob(100000000)))")
                                        .run("INSERT INTO Packages (a) VALUES (1)")
                                        .bytes()),
                    Error);
    // A view of endless rows that takes the table's place in the schema.
    Database endless("CREATE TABLE Other (blob)");
    endless.run(
        "CREATE VIEW Packages AS WITH RECURSIVE c(blob) AS (SELECT x'00' UNION ALL SELECT blob FROM c) SELECT blob "
        "FROM c");
    CHECK_THROWS_WITH(rpm_packages_in(endless.bytes()), containing("no table"));
}

TEST_CASE("a database that is cut, or has bytes changed anywhere, ends in packages or an error") {
    Database database;
    for (int i = 0; i < 200; ++i)
        database.add(rpm_header("p" + std::to_string(i)).text(2000, std::string(i * 50, 'x')).str());
    const auto whole = database.bytes();
    for (std::size_t size = 0; size < whole.size(); size += 509)
        CHECK_THROWS_AS(rpm_packages_in(whole.substr(0, size)), Error);
    std::size_t refused = 0;
    for (std::size_t offset = 0; offset < whole.size(); offset += 1009) {
        auto changed = whole;
        for (std::size_t i = offset; i < std::min(offset + 4, whole.size()); ++i)
            changed[i] = static_cast<char>(~changed[i]);
        try {
            rpm_packages_in(changed);
        } catch (const Error&) {
            ++refused;
        }
    }
    CHECK(refused > 0);
}

TEST_CASE("pages that lead in circles are refused") {
    Database database;
    for (int i = 0; i < 2000; ++i) database.add(rpm_header("p" + std::to_string(i)).str());
    const auto whole = database.bytes();
    const std::size_t page = 4096;
    std::size_t circles = 0;
    for (std::size_t at = page; at + page <= whole.size(); at += page) {
        if (whole[at] != 5) continue;  // an inner page of a table
        auto changed = whole;
        // Its last child is itself.
        changed.replace(at + 8, 4, RpmHeaderBuilder::big_endian(static_cast<std::uint32_t>(at / page + 1)));
        CHECK_THROWS_AS(rpm_packages_in(changed), Error);
        ++circles;
    }
    CHECK(circles > 0);
}

TEST_CASE("a reader that fails, and one that is to end, ends the reading with its own error") {
    Database database;
    for (int i = 0; i < 5000; ++i) database.add(rpm_header("p" + std::to_string(i)).str());
    const auto bytes = database.bytes();
    PackageSet set;
    auto file = file_of(bytes);
    CHECK_THROWS_WITH(read_rpm_database(
                          file, [] { throw Error(ErrorKind::cancelled, "to end"); }, set),
                      containing("to end"));
    file.read = [](std::uint64_t, std::span<std::byte>) { throw Error(ErrorKind::repository_damaged, "lost"); };
    CHECK_THROWS_WITH(read_rpm_database(
                          file, [] {}, set),
                      containing("lost"));
    file.size = max_rpm_database_bytes + 1;
    CHECK_THROWS_WITH(read_rpm_database(
                          file, [] {}, set),
                      containing("larger than the limit"));
}

TEST_CASE("a header that is too large is refused") {
    auto bytes = Database().add(rpm_header("p").text(2000, std::string(max_rpm_header_bytes + 1, 'x')).str()).bytes();
    CHECK_THROWS_WITH(rpm_packages_in(bytes), containing("too big"));
}
