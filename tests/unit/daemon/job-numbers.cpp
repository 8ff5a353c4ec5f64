// SPDX-License-Identifier: Apache-2.0
#include "jobs/job-numbers.hpp"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "catch.hpp"

using namespace imaged;

namespace {

class NumbersFile {
public:
    NumbersFile() { REQUIRE(::mkdtemp(directory_) != nullptr); }
    ~NumbersFile() { std::filesystem::remove_all(directory_); }
    std::string file() const { return std::string(directory_) + "/numbers"; }
    std::string text() const {
        std::string line;
        std::getline(std::ifstream(file()), line);
        return line;
    }
    void write(const std::string& text) const { std::ofstream(file()) << text; }

private:
    char directory_[32] = "/tmp/imaged-numbers-XXXXXX";
};

}  // namespace

TEST_CASE("Job numbers go on after a restart, and none is left out") {
    const NumbersFile numbers;
    {
        JobNumbers first(numbers.file());
        CHECK(first.next() == 1);
        CHECK(first.next() == 2);
    }
    CHECK(numbers.text() == "2");
    JobNumbers second(numbers.file());
    CHECK(second.next() == 3);
}

TEST_CASE("Job numbers of an imaged that was killed are not given again") {
    const NumbersFile numbers;
    std::filesystem::path killed = numbers.file() + ".killed";
    JobNumbers first(numbers.file());
    for (unsigned i = 1; i <= 250; ++i) CHECK(first.next() == i);
    // As it would be left: without the destructor.
    std::filesystem::copy_file(numbers.file(), killed);
    JobNumbers second(killed.string());
    CHECK(second.next() > 250);
}

TEST_CASE("An imaged that ends after its successor has started takes no number from it") {
    const NumbersFile numbers;
    auto first = std::make_unique<JobNumbers>(numbers.file());
    CHECK(first->next() == 1);
    auto second = std::make_unique<JobNumbers>(numbers.file());
    const auto number = second->next();
    CHECK(number > 100);
    first.reset();
    second.reset();
    CHECK(JobNumbers(numbers.file()).next() == number + 1);
}

TEST_CASE("Job numbers begin at 1 without a file, and where the file has no number") {
    CHECK(JobNumbers().next() == 1);
    const NumbersFile numbers;
    for (const auto* text : {"", "x\n", "-1\n", "99999999999\n", "12", "4294967295\n"}) {
        numbers.write(text);
        CHECK(JobNumbers(numbers.file()).next() == 1);
    }
    CHECK(JobNumbers("/nonexistent/file").next() == 1);
    std::filesystem::remove(numbers.file());
    std::filesystem::create_symlink("/etc/passwd", numbers.file());
    CHECK(JobNumbers(numbers.file()).next() == 1);
}
