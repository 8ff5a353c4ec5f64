// SPDX-License-Identifier: Apache-2.0
// Makes headers as rpm's database has them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace imaged {

class RpmHeaderBuilder {
public:
    RpmHeaderBuilder& text(std::uint32_t tag, const std::string& value) {
        entry(tag, 6);
        store_ += value + '\0';
        return *this;
    }
    RpmHeaderBuilder& number(std::uint32_t tag, std::uint32_t value) {
        store_.resize((store_.size() + 3) / 4 * 4);
        entry(tag, 4);
        store_ += big_endian(value);
        return *this;
    }
    std::string str() const {
        return big_endian(static_cast<std::uint32_t>(index_.size() / 16)) +
               big_endian(static_cast<std::uint32_t>(store_.size())) + index_ + store_;
    }

    static std::string big_endian(std::uint32_t value) {
        std::string bytes;
        for (const int shift : {24, 16, 8, 0})
            bytes += static_cast<char>(value >> static_cast<unsigned>(shift) & 0xffU);
        return bytes;
    }

private:
    void entry(std::uint32_t tag, std::uint32_t type) {
        index_ +=
            big_endian(tag) + big_endian(type) + big_endian(static_cast<std::uint32_t>(store_.size())) + big_endian(1);
    }
    std::string index_, store_;
};

inline RpmHeaderBuilder rpm_header(const std::string& name, const std::string& version = "1.0",
                                   const std::string& release = "1") {
    RpmHeaderBuilder header;
    header.text(1000, name).text(1001, version).text(1002, release);
    return header;
}

}  // namespace imaged
