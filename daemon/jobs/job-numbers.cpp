// SPDX-License-Identifier: Apache-2.0
#include "jobs/job-numbers.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/replace-file.hpp"

namespace imaged {

namespace {

constexpr std::uint32_t reserved_at_once = 100;
constexpr std::size_t max_file_bytes = 32;

// The number in FILE; 0 if there is no file yet.
std::uint32_t read_number(const std::string& file) {
    const auto descriptor = try_open_file(AT_FDCWD, file, O_NOFOLLOW);
    if (!descriptor) return 0;
    char text[max_file_bytes];
    const auto size = ::read(descriptor.get(), text, sizeof text);
    if (size < 0) throw_errno("read " + file);
    std::uint32_t number = 0;
    const auto [end, failure] = std::from_chars(text, text + size, number);
    if (failure != std::errc() || end == text + size || *end != '\n')
        throw Error(ErrorKind::failed, file + " has no number in it");
    return number;
}

void write_number(const std::string& file, std::uint32_t number) {
    replace_file(AT_FDCWD, file, std::to_string(number) + "\n", Durability::later);
}

}  // namespace

JobNumbers::JobNumbers(std::string file) : file_(std::move(file)) {
    if (file_.empty()) return;
    try {
        last_ = read_number(file_);
    } catch (...) {
        spdlog::warn("the numbers of jobs begin at 1 again: {}", current_error().what());
    }
    // 4,000 million jobs later they begin anew.
    if (last_ > std::numeric_limits<std::uint32_t>::max() / 2) last_ = 0;
    reserve(last_ + reserved_at_once);
}

JobNumbers::~JobNumbers() {
    if (file_.empty()) return;
    try {
        // Unless another imaged, which took over the name, has reserved the next ones.
        if (read_number(file_) == reserved_) reserve(last_);
    } catch (...) {
        // Nothing is lost but the numbers that were reserved.
    }
}

std::uint32_t JobNumbers::next() {
    ++last_;
    if (!file_.empty() && last_ == reserved_) reserve(last_ + reserved_at_once);
    return last_;
}

void JobNumbers::reserve(std::uint32_t end) {
    reserved_ = end;
    try {
        write_number(file_, end);
    } catch (...) {
        spdlog::warn("the next imaged may give numbers of jobs again: {}", current_error().what());
    }
}

std::string runtime_file(const std::string& name, bool session) {
    const char* const unit = std::getenv("RUNTIME_DIRECTORY");
    if (unit != nullptr && *unit == '/')
        return std::string(std::string_view(unit).substr(0, std::string_view(unit).find(':'))) + "/" + name;
    const char* const user = session ? std::getenv("XDG_RUNTIME_DIR") : nullptr;
    if (user == nullptr || *user != '/') return {};
    const auto directory = std::string(user) + "/imaged";
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return {};
    return directory + "/" + name;
}

}  // namespace imaged
