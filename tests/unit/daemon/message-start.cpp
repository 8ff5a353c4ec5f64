// SPDX-License-Identifier: Apache-2.0
#include "bus/message-start.hpp"

#include <bit>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "catch.hpp"

namespace {

using namespace imaged;

// Header fields, one by one, as the D-Bus specification has them.
class Header {
public:
    explicit Header(char order) : order_(order) {
        bytes_ = {order, 1, 0, 1};
        for (int i = 0; i < 3; ++i) number(0);
    }
    Header& text(char code, char type, const std::string& value) {
        field(code, type);
        number(static_cast<std::uint32_t>(value.size()));
        bytes_ += value + '\0';
        return *this;
    }
    Header& signature(const std::string& value) {
        field(8, 'g');
        bytes_ += static_cast<char>(value.size());
        bytes_ += value + '\0';
        return *this;
    }
    Header& count(char code, std::uint32_t value) {
        field(code, 'u');
        number(value);
        return *this;
    }
    std::string finish(std::uint32_t body) {
        put(4, body);
        put(12, static_cast<std::uint32_t>(bytes_.size() - 16));
        return bytes_;
    }

private:
    void align(std::size_t to) { bytes_.resize((bytes_.size() + to - 1) / to * to); }
    void field(char code, char type) {
        align(8);
        bytes_ += code;
        bytes_ += {1, type, 0};
    }
    void number(std::uint32_t value) {
        align(4);
        bytes_.resize(bytes_.size() + 4);
        put(bytes_.size() - 4, value);
    }
    void put(std::size_t at, std::uint32_t value) {
        for (std::size_t i = 0; i < 4; ++i)
            bytes_[at + i] = static_cast<char>(value >> 8 * (order_ == 'B' ? 3 - i : i));
    }

    const char order_;
    std::string bytes_;
};

std::optional<MessageStart> parse_start(const std::string& bytes) {
    return parse_message_start(std::as_bytes(std::span(bytes)));
}

std::string call(char order) {
    return Header(order)
        .text(1, 'o', "/org/imaged1")
        .count(9, 3)
        .signature("sa{sv}")
        .text(3, 's', "Pull")
        .text(7, 's', ":1.4321")
        .finish(100);
}

}  // namespace

TEST_CASE("sender and descriptors of a message are found in both byte orders") {
    for (const char order : {'l', 'B'}) {
        const auto bytes = call(order);
        const auto start = parse_start(bytes + "and a body");
        REQUIRE(start);
        CHECK(start->sender == ":1.4321");
        CHECK(start->descriptors == 3);
        CHECK(message_length(std::as_bytes(std::span(bytes)).first<message_prefix_bytes>()) ==
              (bytes.size() + 7) / 8 * 8 + 100);
    }
}

TEST_CASE("a message without descriptors has none") {
    const auto start = parse_start(Header('l').text(7, 's', ":1.2").finish(0));
    REQUIRE(start);
    CHECK(start->descriptors == 0);
}

TEST_CASE("a header that is cut or not valid is none") {
    const auto bytes = call('l');
    for (std::size_t size = 0; size < bytes.size(); ++size) CHECK_FALSE(parse_start(bytes.substr(0, size)));
    CHECK_FALSE(parse_start(Header('l').text(7, 'x', "unknown type").finish(0)));
    // A length that leads beyond the fields.
    auto wrong = Header('l').text(7, 's', ":1.2").finish(0);
    wrong[20] = 127;
    CHECK_FALSE(parse_start(wrong));
    wrong[23] = '\xff';
    CHECK_FALSE(parse_start(wrong));
}
