// SPDX-License-Identifier: Apache-2.0
#include "image-list.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bus/connection.hpp"

namespace imagectl {

namespace {

using Json = nlohmann::json;

// Takes the images out as they come by: a tree of all values would take longer to make and to free than to read.
class ListReader final : public nlohmann::json_sax<Json> {
public:
    std::vector<ListedImage> images;

    // Whether there was a list at all.
    bool complete() const { return listed_; }

    bool start_object(std::size_t) override {
        if (listing_ && depth_ == in_list) images.emplace_back();
        if (in_kept_ && depth_ == in_kept_list) images.back().kept.emplace_back();
        return enter();
    }
    bool start_array(std::size_t) override {
        if (in_image() && key_ == "kept") in_kept_ = true;
        if (depth_ == in_document && key_ == "images") {
            listing_ = listed_ = true;
        } else {
            other();
        }
        return enter();
    }
    bool end_object() override { return leave(); }
    bool end_array() override { return leave(); }
    bool key(string_t& name) override {
        if (depth_ == in_document || in_image() || in_version()) key_ = std::move(name);
        return true;
    }
    bool string(string_t& text) override {
        if (in_image()) images.back().add(std::move(key_), std::move(text));
        if (in_version()) images.back().kept.back().add(std::move(key_), std::move(text));
        return other();
    }
    bool number_unsigned(number_unsigned_t number) override {
        if (in_image()) images.back().add(std::move(key_), number);
        return other();
    }
    bool null() override { return other(); }
    bool boolean(bool) override { return other(); }
    bool number_integer(number_integer_t) override { return other(); }
    bool number_float(number_float_t, const string_t&) override { return other(); }
    bool binary(binary_t&) override { return other(); }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
        throw std::invalid_argument(error.what());
    }

private:
    // How many objects and arrays are open there.
    static constexpr std::size_t in_document = 1, in_list = 2, in_object = 3, in_kept_list = 4, in_kept_object = 5;

    bool in_image() const { return listing_ && depth_ == in_object; }
    bool in_version() const { return in_kept_ && depth_ == in_kept_object && !images.back().kept.empty(); }
    bool enter() {
        ++depth_;
        return true;
    }
    bool leave() {
        if (--depth_ == in_document) listing_ = false;
        if (depth_ == in_object) in_kept_ = false;
        return true;
    }
    // What is no object has no business in two places, and is of no interest in others.
    bool other() const {
        if (depth_ == 0) throw std::invalid_argument("it is no object");
        if (listing_ && depth_ == in_list) throw std::invalid_argument("an image is no object");
        return true;
    }

    std::size_t depth_ = 0;
    std::string key_;
    bool listing_ = false, listed_ = false, in_kept_ = false;
};

}  // namespace

void ListedImage::add(std::string key, Value value) {
    members_.emplace_back(std::move(key), std::move(value));
}

const ListedImage::Value* ListedImage::value(std::string_view key) const {
    for (auto member = members_.rbegin(); member != members_.rend(); ++member)
        if (member->first == key) return &member->second;
    return nullptr;
}

const std::string* ListedImage::text(std::string_view key) const {
    const auto* found = value(key);
    return found == nullptr ? nullptr : std::get_if<std::string>(found);
}

std::optional<std::uint64_t> ListedImage::number(std::string_view key) const {
    const auto* found = value(key);
    const auto* number = found == nullptr ? nullptr : std::get_if<std::uint64_t>(found);
    return number == nullptr ? std::nullopt : std::optional(*number);
}

std::vector<ListedImage> listed_images(const std::string& document) {
    try {
        ListReader reader;
        Json::sax_parse(document, &reader);
        if (!reader.complete()) throw std::invalid_argument("it has no list of images");
        return std::move(reader.images);
    } catch (const std::exception& error) {
        throw BusError(malformed_answer,
                       std::string("imaged's answer to DescribeImages is not usable: ") + error.what());
    }
}

}  // namespace imagectl
