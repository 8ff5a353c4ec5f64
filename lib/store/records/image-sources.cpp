// SPDX-License-Identifier: Apache-2.0
#include "store/records/image-sources.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/files/record-file.hpp"

namespace imaged {

namespace {

using SourceRecords = ImageRecords<std::string>;
using Sources = SourceRecords::Values;

// Of some ten thousand images.
constexpr std::size_t max_record_bytes = 16 * 1024 * 1024;
constexpr const char* sources_directory = "extensions/imaged/sources";
constexpr const char* former_directory = "extensions/imaged";
constexpr const char* former_file = "sources.json";

// All sources, as earlier versions keep them; nullopt if there is no such file.
std::optional<Sources> read_former(int repository) {
    const auto directory = open_records(repository, former_directory);
    const auto text = directory ? read_record(directory.get(), former_file, max_record_bytes) : std::nullopt;
    if (!text) return std::nullopt;
    try {
        return parse_json(*text).get<Sources>();
    } catch (const std::exception&) {
        return Sources();
    }
}

Sources read_sources(int repository, unsigned char number) {
    if (const auto former = read_former(repository)) return *former;
    return SourceRecords::read(repository, sources_directory, number);
}

// IMAGES are in file NUMBER.
bool is_any_noted(int repository, unsigned char number, const std::set<std::string>& images) {
    const auto sources = SourceRecords::read(repository, sources_directory, number);
    return std::any_of(images.begin(), images.end(), [&](const auto& image) { return sources.contains(image); });
}

void sync_sources(int directory) {
    if (::syncfs(directory) != 0) throw_errno("sync the sources of images");
}

// Files that are there already are of a move that was interrupted, or from before an earlier version was used again.
void move_former(int repository) {
    const auto former = read_former(repository);
    if (!former) return;
    const auto place = make_records(repository, sources_directory);
    const auto former_place = open_records(repository, former_directory);
    if (!place || !former_place) return;
    std::map<unsigned char, Sources> files;
    for (const auto& [image, source] : *former) files[image_record_number(image)].emplace(image, source);
    for (unsigned i = 0; i < image_record_files; ++i) {
        const auto number = static_cast<unsigned char>(i);
        if (const auto found = files.find(number); found != files.end())
            SourceRecords::write(repository, sources_directory, number, found->second, Durability::later);
        else if (::unlinkat(place.get(), image_record_name(number).c_str(), 0) != 0 && errno != ENOENT)
            throw_errno("remove " + image_record_name(number));
    }
    sync_sources(place.get());
    if (::unlinkat(former_place.get(), former_file, 0) != 0) throw_errno("remove " + std::string(former_file));
    // If it came back after a power cut, it would hide what is noted from now on.
    sync_sources(place.get());
}

// Calls EDIT with the sources in file NUMBER, and keeps them if it returns true.
template <typename Edit>
void edit_sources(int repository, unsigned char number, Edit&& edit) {
    auto sources = SourceRecords::read(repository, sources_directory, number);
    if (edit(sources)) SourceRecords::write(repository, sources_directory, number, sources, Durability::durable);
}

}  // namespace

ImageSources::ImageSources(int repository) : repository_(repository), records_(repository, sources_directory) {}

bool ImageSources::refresh() {
    // First: once that file is gone, the others have all of it.
    const auto stamp = FileStamp::of(repository_, std::string(former_directory) + "/" + former_file);
    if (stamp != stamp_) {
        try {
            only_ = read_former(repository_);
            stamp_ = stamp;
            changed_ = true;
        } catch (const Error&) {
            // What was known of it holds until the next time.
        }
    }
    const bool others_changed = records_.refresh();
    return changed_ || (others_changed && !only_);
}

const std::string* ImageSources::of(const std::string& image) {
    if (!only_) return records_.of(image);
    const auto found = only_->find(image);
    return found == only_->end() ? nullptr : &found->second;
}

void ImageSources::forget() {
    records_.forget();
    changed_ = false;
}

std::string image_source(int repository, const std::string& image) {
    try {
        const auto sources = read_sources(repository, image_record_number(image));
        const auto found = sources.find(image);
        return found == sources.end() ? image : found->second;
    } catch (const std::exception&) {
        return image;
    }
}

void note_image_source(int repository, const std::string& image, const std::string& source) noexcept {
    if (source == image) return forget_image_sources(repository, {image});
    try {
        const auto lock = lock_image_records(repository);
        move_former(repository);
        edit_sources(repository, image_record_number(image),
                     [&](Sources& sources) { return std::exchange(sources[image], source) != source; });
    } catch (const std::exception&) {
        // As the header says.
    }
}

void forget_image_sources(int repository, const std::set<std::string>& images) noexcept {
    try {
        std::map<unsigned char, std::set<std::string>> files;
        for (const auto& image : images) files[image_record_number(image)].insert(image);
        if (!read_former(repository))
            std::erase_if(files, [&](const auto& file) { return !is_any_noted(repository, file.first, file.second); });
        if (files.empty()) return;
        const auto lock = lock_image_records(repository);
        move_former(repository);
        for (const auto& [number, names] : files) {
            edit_sources(repository, number, [&](Sources& sources) {
                return std::erase_if(sources, [&](const auto& known) { return names.contains(known.first); }) > 0;
            });
        }
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
