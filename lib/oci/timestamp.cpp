// SPDX-License-Identifier: Apache-2.0
#include "oci/timestamp.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>

namespace imaged {

namespace {

// Consumes the front of a text.
class Scanner {
public:
    explicit Scanner(std::string_view text) : rest_(text) {}

    // DIGITS decimal digits, as a number from LEAST to MOST.
    int number(std::size_t digits, int least, int most) {
        int value = 0;
        const auto part = rest_.substr(0, digits);
        const bool plain = part.size() == digits && part.find_first_not_of("0123456789") == std::string_view::npos;
        if (plain) std::from_chars(part.data(), part.data() + digits, value);
        good_ = good_ && plain && value >= least && value <= most;
        rest_.remove_prefix(part.size());
        return value;
    }
    bool take(std::string_view any_of) {
        if (rest_.empty() || any_of.find(rest_.front()) == std::string_view::npos) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void expect(std::string_view any_of) { good_ = take(any_of) && good_; }
    void skip_digits() {
        const auto digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
        good_ = good_ && digits > 0;
        rest_.remove_prefix(digits);
    }
    char next() const { return rest_.empty() ? '\0' : rest_.front(); }
    bool good() const { return good_ && rest_.empty(); }

private:
    std::string_view rest_;
    bool good_ = true;
};

}  // namespace

std::optional<std::uint64_t> parse_timestamp(std::string_view text) {
    using namespace std::chrono;
    Scanner scanner(text);
    const auto y = scanner.number(4, 0, 9999);
    scanner.expect("-");
    const auto m = scanner.number(2, 1, 12);
    scanner.expect("-");
    const auto d = scanner.number(2, 1, 31);
    scanner.expect("Tt ");
    const auto hour = scanner.number(2, 0, 23);
    scanner.expect(":");
    const auto minute = scanner.number(2, 0, 59);
    scanner.expect(":");
    const auto second = scanner.number(2, 0, 60);
    if (scanner.take(".")) scanner.skip_digits();
    long offset_minutes = 0;
    if (!scanner.take("Zz")) {
        const int sign = scanner.next() == '-' ? -1 : 1;
        scanner.expect("+-");
        const auto offset_hours = scanner.number(2, 0, 23);
        scanner.expect(":");
        offset_minutes = sign * (offset_hours * 60L + scanner.number(2, 0, 59));
    }
    const year_month_day date{year{y}, month{static_cast<unsigned>(m)}, day{static_cast<unsigned>(d)}};
    if (!scanner.good() || !date.ok()) return std::nullopt;
    const auto time = sys_days{date} + hours{hour} + minutes{minute} + seconds{second} - minutes{offset_minutes};
    const auto count = duration_cast<seconds>(time.time_since_epoch()).count();
    constexpr auto end = sys_days{year{10000} / January / 1}.time_since_epoch();
    if (count < 0 || count >= duration_cast<seconds>(end).count()) return std::nullopt;
    return static_cast<std::uint64_t>(count);
}

}  // namespace imaged
