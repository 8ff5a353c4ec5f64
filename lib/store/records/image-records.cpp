// SPDX-License-Identifier: Apache-2.0
#include "store/records/image-records.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>

#include "base/error.hpp"
#include "base/hex-byte.hpp"
#include "base/json.hpp"
#include "store/files/record-file.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

namespace {

// Of some ten thousand images.
constexpr std::size_t max_file_bytes = 16 * 1024 * 1024;

}  // namespace

// FNV-1a: a listing asks for each image.
unsigned char image_record_number(const std::string& image) {
    std::uint32_t hash = 2166136261U;
    for (const char c : image) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    return static_cast<unsigned char>(hash >> 24U);
}

std::string image_record_name(unsigned char number) {
    return hex_byte(number) + ".json";
}

FileDescriptor lock_image_records(int repository) {
    const auto place = make_records(repository, records_directory);
    if (!place) return {};
    auto file = open_at(place.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
    while (::flock(file.get(), LOCK_EX) != 0) {
        if (errno != EINTR) throw_errno("lock the records of images");
    }
    return file;
}

template <typename Value>
typename ImageRecords<Value>::Values ImageRecords<Value>::read(int repository, const char* directory,
                                                               unsigned char number) {
    const auto place = open_records(repository, directory);
    const auto text = place ? read_record(place.get(), image_record_name(number), max_file_bytes) : std::nullopt;
    try {
        return text ? parse_json(*text).template get<Values>() : Values();
    } catch (const std::exception&) {
        return {};
    }
}

template <typename Value>
void ImageRecords<Value>::write(int repository, const char* directory, unsigned char number, const Values& values,
                                Durability durability) {
    if (const auto place = make_records(repository, directory))
        write_record(place.get(), image_record_name(number), json_text(nlohmann::json(values)), durability);
}

template <typename Value>
bool ImageRecords<Value>::refresh() {
    if (!directory_.refresh(repository_, path_)) return false;
    bool changed = false;
    for (std::size_t i = 0; i < files_.size(); ++i) changed |= refresh(files_[i], static_cast<unsigned char>(i));
    return changed;
}

template <typename Value>
bool ImageRecords<Value>::refresh(File& file, unsigned char number) {
    const auto stamp = FileStamp::of(repository_, std::string(path_) + "/" + image_record_name(number));
    if (stamp == file.stamp) return false;
    try {
        file.values = read(repository_, path_, number);
    } catch (const Error&) {
        directory_.distrust();
        return false;
    }
    file.stamp = stamp;
    file.changed = true;
    return true;
}

template <typename Value>
const Value* ImageRecords<Value>::of(const std::string& image) {
    const auto number = image_record_number(image);
    auto& file = files_[number];
    if (!file.values) {
        if (file.stamp == FileStamp()) return nullptr;
        try {
            file.values = read(repository_, path_, number);
        } catch (const Error&) {
            directory_.distrust();
            file.stamp = {};
            return nullptr;
        }
    }
    const auto found = file.values->find(image);
    return found == file.values->end() ? nullptr : &found->second;
}

template <typename Value>
void ImageRecords<Value>::forget() {
    for (auto& file : files_) {
        file.values.reset();
        file.changed = false;
    }
}

template class ImageRecords<std::string>;
template class ImageRecords<std::map<std::string, std::string>>;

}  // namespace imaged
