// SPDX-License-Identifier: Apache-2.0
// Records the sources of images whose names do not show them: images that were stored under another name, or imported
// from an archive.
//
// On disk: extensions/imaged/sources/HH.json (image-records.hpp), {"IMAGE": "SOURCE"}, durable when it is written:
// nothing could make it again. Earlier versions kept all sources in one file, sources.json beside that directory. While
// there is one, it alone counts; the first job that notes a source or forgets one moves what it has and removes it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/file-stamp.hpp"
#include "store/records/image-records.hpp"

namespace imaged {

// In place of a source: nothing can be asked there.
inline constexpr const char* archive_source = "archive";

// The whole record, for listings, as ImageRecords. Belongs to one thread; borrows the repository's directory.
class ImageSources {
public:
    explicit ImageSources(int repository);

    bool refresh();
    bool has_changed(const std::string& image) const { return changed_ || records_.has_changed(image); }
    // Null if no source is known but the image's own name. Valid until forget().
    const std::string* of(const std::string& image);
    void forget();

private:
    const int repository_;
    ImageRecords<std::string> records_;
    FileStamp stamp_;                                         // of sources.json
    std::optional<std::map<std::string, std::string>> only_;  // what that has, while it is there
    bool changed_ = false;
};

// Where IMAGE comes from: IMAGE itself if no other source is known, or the file cannot be read. REPOSITORY is the
// repository's directory.
std::string image_source(int repository, const std::string& image);
// Notes that IMAGE came from SOURCE: a reference, archive_source, or IMAGE itself, of which nothing is kept. What
// cannot be written is not: the image is then asked for under its own name.
void note_image_source(int repository, const std::string& image, const std::string& source) noexcept;
// Forgets where IMAGES came from.
void forget_image_sources(int repository, const std::set<std::string>& images) noexcept;

}  // namespace imaged
