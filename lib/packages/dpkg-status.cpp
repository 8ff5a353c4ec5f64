// SPDX-License-Identifier: Apache-2.0
#include "packages/dpkg-status.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.hpp"

namespace imaged {

namespace {

// Of the fields that are read; longer ones are skipped if nobody wants them.
constexpr std::size_t max_line_bytes = 1024;

class LineReader {
public:
    explicit LineReader(const ReadBytes& read) : read_(read) {}

    // False at the end. Of a line that is too long its beginning is kept.
    bool next() {
        line_.clear();
        cut_ = false;
        bool any = false;
        for (;;) {
            if (rest_.empty() && !fill()) break;
            any = true;
            const auto end = rest_.find('\n');
            const auto part = rest_.substr(0, end);
            const auto room = max_line_bytes - line_.size();
            cut_ = cut_ || part.size() > room;
            line_.append(part.substr(0, room));
            rest_.remove_prefix(std::min(part.size() + 1, rest_.size()));
            if (end != std::string_view::npos) break;
        }
        if (!any) return false;
        ++number_;
        return true;
    }

    const std::string& line() const { return line_; }
    bool is_cut() const { return cut_; }
    std::uint64_t number() const { return number_; }

private:
    bool fill() {
        const auto size = read_(std::as_writable_bytes(std::span(buffer_)));
        bytes_ += size;
        if (bytes_ > max_dpkg_status_bytes)
            throw Error(ErrorKind::unsupported_image,
                        "it is larger than the limit of " + std::to_string(max_dpkg_status_bytes) + " bytes");
        rest_ = std::string_view(buffer_.data(), size);
        return size > 0;
    }

    const ReadBytes& read_;
    std::array<char, std::size_t{64} * 1024> buffer_;
    std::string_view rest_;
    std::string line_;
    bool cut_ = false;
    std::uint64_t number_ = 0, bytes_ = 0;
};

constexpr std::string_view blanks = " \t\r\v\f";

// Names of fields and packages, and states, are the same in capital letters.
std::string lower(std::string_view text) {
    std::string lowered(text);
    for (auto& letter : lowered)
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    return lowered;
}

std::string_view trimmed(std::string_view text) {
    const auto begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

constexpr std::string_view not_installed = "not-installed", config_files = "config-files";
constexpr std::string_view states[] = {not_installed,     config_files,       "half-installed",   "unpacked",
                                       "half-configured", "triggers-awaited", "triggers-pending", "installed"};

// "install ok installed": the third word, and what is behind it.
std::string_view state_of(std::string_view status) {
    for (int word = 0; word < 2; ++word) {
        const auto end = status.find_first_of(blanks);
        if (end == std::string_view::npos) return {};
        status = trimmed(status.substr(end));
    }
    return status;
}

class StatusReader {
public:
    StatusReader(const ReadBytes& read, bool without_status) : lines_(read), without_status_(without_status) {}

    void run(PackageSet& into) {
        while (lines_.next()) {
            if (lines_.line().empty())
                finish_stanza();
            else
                take_line();
        }
        finish_stanza();
        for (auto& [name, version] : packages_)
            if (version) into.add({PackageFormat::dpkg, name.first, name.second, std::move(*version)});
    }

private:
    [[noreturn]] void refuse(const std::string& what) const {
        throw Error(ErrorKind::corrupt_input, "line " + std::to_string(lines_.number()) + ": " + what);
    }

    void take_line() {
        const std::string_view line = lines_.line();
        if (blanks.find(line.front()) != blanks.npos) {
            if (!in_stanza_) refuse("it begins with a continuation line");
            return;
        }
        const auto colon = line.find(':');
        if (colon == std::string_view::npos || colon == 0) refuse("it is no field: there is no name with a colon");
        in_stanza_ = true;
        const auto name = lower(trimmed(line.substr(0, colon)));
        const auto value = trimmed(line.substr(colon + 1));
        for (const auto& [known, field] : fields_) {
            if (name != lower(known)) continue;
            if (lines_.is_cut()) refuse("the field " + std::string(known) + " is too long");
            if (!field->empty()) refuse("the field " + std::string(known) + " is there twice");
            *field = value;
        }
        // Of dpkg's early years: what is behind the hyphen of a version that came before.
        if ((name == "revision" || name == "package-revision" || name == "package_revision") && !version_.empty() &&
            !value.empty())
            version_.append("-").append(value);
    }

    void finish_stanza() {
        if (!std::exchange(in_stanza_, false)) return;
        if (package_.empty()) refuse("the stanza that ends here has no field Package");
        const auto state =
            status_.empty() ? std::string(without_status_ ? "installed" : not_installed) : lower(state_of(status_));
        if (state.empty()) refuse("the stanza that ends here has a Status without three words");
        if (std::find(std::begin(states), std::end(states), state) == std::end(states))
            refuse("the stanza that ends here has an unknown Status");
        add(state);
        for (const auto& [known, field] : fields_) field->clear();
    }

    void add(const std::string& state) {
        const std::pair name(lower(package_), architecture_);
        if (packages_.contains(name)) refuse("the stanza that ends here is the second one of package " + package_);
        // What comes after one that is not installed takes its place.
        if (state == not_installed) return;
        packages_.emplace(name, state == config_files ? std::nullopt : std::optional(printed_version()));
        if (packages_.size() > PackageSet::max_packages)
            throw Error(ErrorKind::unsupported_image,
                        "it has more than " + std::to_string(PackageSet::max_packages) + " packages");
    }

    // As dpkg prints it: the epoch is a number, and none if it is 0.
    std::string printed_version() const {
        const auto colon = version_.find(':');
        if (colon == std::string::npos) return version_;
        int epoch = 0;
        const auto* const end = version_.data() + colon;
        const auto [behind, failure] = std::from_chars(version_.data(), end, epoch);
        if (failure != std::errc() || behind != end || epoch < 0)
            refuse("the stanza that ends here has a Version with an epoch that is no number");
        return (epoch == 0 ? "" : std::to_string(epoch) + ":") + version_.substr(colon + 1);
    }

    LineReader lines_;
    const bool without_status_;
    bool in_stanza_ = false;
    std::string package_, status_, architecture_, version_;
    const std::array<std::pair<std::string_view, std::string*>, 4> fields_{
        {{"Package", &package_}, {"Status", &status_}, {"Architecture", &architecture_}, {"Version", &version_}}};
    // By name and architecture: the version, nullopt if only configuration files are left.
    std::map<std::pair<std::string, std::string>, std::optional<std::string>> packages_;
};

}  // namespace

void read_dpkg_status(const ReadBytes& read, bool without_status, PackageSet& into) {
    StatusReader(read, without_status).run(into);
}

}  // namespace imaged
