// SPDX-License-Identifier: Apache-2.0
#include "image-list.hpp"

#ifdef __SSE2__
#define RAPIDJSON_SSE2
#endif
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace imagectl {

namespace {

// Takes the images out as they come by: a tree of all values would take longer to make and to free than to read.
class ListReader {
public:
    std::vector<ListedImage> images;

    // Whether there was a list at all.
    bool complete() const { return listed_; }

    bool StartObject() {
        if (listing_ && depth_ == in_list) images.emplace_back();
        if (in_kept_ && depth_ == in_kept_list) images.back().kept.emplace_back();
        return enter();
    }
    bool StartArray() {
        if (in_image() && key_ == "kept") in_kept_ = true;
        if (depth_ == in_document && key_ == "images") {
            listing_ = listed_ = true;
        } else {
            other();
        }
        return enter();
    }
    bool EndObject(rapidjson::SizeType) { return leave(); }
    bool EndArray(rapidjson::SizeType) { return leave(); }
    // The text of a document that is parsed in place stays where it is.
    bool Key(const char* name, rapidjson::SizeType size, bool) {
        if (depth_ == in_document || in_image() || in_version()) key_ = {name, size};
        return true;
    }
    bool String(const char* text, rapidjson::SizeType size, bool) {
        if (in_image()) images.back().add(key_, std::string_view(text, size));
        if (in_version()) images.back().kept.back().add(key_, std::string_view(text, size));
        return other();
    }
    bool Uint(unsigned number) { return Uint64(number); }
    bool Uint64(std::uint64_t number) {
        if (in_image()) images.back().add(key_, number);
        return other();
    }
    bool Null() { return other(); }
    bool Bool(bool) { return other(); }
    bool Int(int) { return other(); }
    bool Int64(std::int64_t) { return other(); }
    bool Double(double) { return other(); }
    bool RawNumber(const char*, rapidjson::SizeType, bool) { return other(); }

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
    std::string_view key_;
    bool listing_ = false, listed_ = false, in_kept_ = false;
};

// As many members as imaged gives an image.
constexpr std::size_t usual_members = 16;
// A parser that looks at 16 bytes at a time looks beyond the end.
constexpr std::size_t padding = 16;

}  // namespace

void ListedImage::add(std::string_view key, Value value) {
    if (members_.empty()) members_.reserve(usual_members);
    members_.emplace_back(key, value);
}

const ListedImage::Value* ListedImage::value(std::string_view key) const {
    for (auto member = members_.rbegin(); member != members_.rend(); ++member)
        if (member->first == key) return &member->second;
    return nullptr;
}

const std::string_view* ListedImage::text(std::string_view key) const {
    const auto* found = value(key);
    return found == nullptr ? nullptr : std::get_if<std::string_view>(found);
}

std::optional<std::uint64_t> ListedImage::number(std::string_view key) const {
    const auto* found = value(key);
    const auto* number = found == nullptr ? nullptr : std::get_if<std::uint64_t>(found);
    return number == nullptr ? std::nullopt : std::optional(*number);
}

ImageList::ImageList(std::string_view document) : document_(new char[document.size() + padding]) {
    std::memcpy(document_.get(), document.data(), document.size());
    std::memset(document_.get() + document.size(), 0, padding);
    try {
        ListReader handler;
        rapidjson::Reader reader;
        rapidjson::InsituStringStream text(document_.get());
        // Without recursion: a text can nest deeper than the stack allows.
        reader.Parse<rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag>(text, handler);
        if (reader.HasParseError())
            throw std::invalid_argument(std::string(rapidjson::GetParseError_En(reader.GetParseErrorCode())) +
                                        " At byte " + std::to_string(reader.GetErrorOffset()));
        if (!handler.complete()) throw std::invalid_argument("it has no list of images");
        images_ = std::move(handler.images);
    } catch (const std::exception& error) {
        throw BusError(malformed_answer,
                       std::string("imaged's answer to DescribeImages is not usable: ") + error.what());
    }
}

ImageList listed_images(const Connection& connection) {
    Call call;
    call.method = "DescribeImages";
    call.arguments = adopt(g_variant_new("(a{sv})", nullptr));
    const auto answer = connection.call(std::move(call)).body;
    const char* document = nullptr;
    g_variant_get(answer.get(), "(&s)", &document);
    return ImageList(document);
}

}  // namespace imagectl
