// SPDX-License-Identifier: Apache-2.0
#include "store/records/image-sources.hpp"

#include <cstddef>

#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/files/record-file.hpp"

namespace imaged {

namespace {

// Of some ten thousand images.
constexpr std::size_t max_record_bytes = 16 * 1024 * 1024;
constexpr const char* sources_directory = "extensions/imaged";
constexpr const char* sources_file = "sources.json";

}  // namespace

std::map<std::string, std::string> read_image_sources(int repository) {
    const auto directory = open_records(repository, sources_directory);
    const auto text = directory ? read_record(directory.get(), sources_file, max_record_bytes) : std::nullopt;
    if (!text) return {};
    try {
        return parse_json(*text).get<std::map<std::string, std::string>>();
    } catch (const std::exception&) {
        return {};
    }
}

std::string image_source(int repository, const std::string& image) {
    try {
        const auto sources = read_image_sources(repository);
        const auto found = sources.find(image);
        return found == sources.end() ? image : found->second;
    } catch (const std::exception&) {
        return image;
    }
}

void note_image_source(int repository, const std::string& image, const std::string& source) noexcept {
    try {
        auto sources = read_image_sources(repository);
        const auto before = sources;
        if (source == image) {
            sources.erase(image);
        } else {
            sources[image] = source;
        }
        if (sources == before) return;
        if (const auto directory = make_records(repository, sources_directory))
            write_record(directory.get(), sources_file, json_text(nlohmann::json(sources)));
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
