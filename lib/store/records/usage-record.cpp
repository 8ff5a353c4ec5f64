// SPDX-License-Identifier: Apache-2.0
#include "store/records/usage-record.hpp"

#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/files/record-file.hpp"

namespace imaged {

using nlohmann::json;

UsageRecord UsageRecord::read(int repository) {
    const auto directory = open_records(repository, records_directory);
    const auto text = directory ? read_record(directory.get(), usage_record, max_usage_bytes) : std::nullopt;
    if (!text) return {};
    try {
        const auto document = parse_json(*text);
        const auto state = Checksum::from_hex(document.at("state").get<std::string>());
        if (!state) return {};
        std::map<std::string, Size> images;
        for (const auto& [image, sizes] : document.at("images").items()) {
            // A number of another type would be converted.
            if (!sizes.at(0).is_number_unsigned() || !sizes.at(1).is_number_unsigned()) return {};
            const Size size{sizes.at(0).get<std::uint64_t>(), sizes.at(1).get<std::uint64_t>()};
            if (size.unique > size.bytes) return {};
            images.emplace(image, size);
        }
        return {*state, std::move(images)};
    } catch (const std::exception&) {
        return {};
    }
}

void UsageRecord::write(RepositoryWriter& writer) const {
    auto images = json::object();
    for (const auto& [image, size] : images_) images[image] = {size.bytes, size.unique};
    writer.keep_record(usage_record, json_text(json{{"state", state_.hex()}, {"images", std::move(images)}}));
}

const UsageRecord::Size* UsageRecord::size_of(const std::string& image, const Checksum& state) const {
    if (state_ != state) return nullptr;
    const auto found = images_.find(image);
    return found == images_.end() ? nullptr : &found->second;
}

}  // namespace imaged
