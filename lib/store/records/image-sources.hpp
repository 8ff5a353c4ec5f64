// SPDX-License-Identifier: Apache-2.0
// Records the sources of images whose names do not show them: images that were stored under another name, or imported
// from an archive.
//
// On disk: extensions/imaged/sources.json, {"IMAGE": "SOURCE"}, replaced by rename(2). An invalid file counts as empty.
// Jobs that change it run one at a time.
#pragma once

#include <map>
#include <string>

namespace imaged {

// In place of a source: nothing can be asked there.
inline constexpr const char* archive_source = "archive";
inline constexpr const char* image_sources_path = "extensions/imaged/sources.json";

// By image, as its name is stored. REPOSITORY is the repository's directory. Throws where the system cannot read the
// file (record-file.hpp).
std::map<std::string, std::string> read_image_sources(int repository);
// Where IMAGE comes from: IMAGE itself if no other source is known, or the file cannot be read.
std::string image_source(int repository, const std::string& image);
// Notes that IMAGE came from SOURCE: a reference, archive_source, or IMAGE itself, of which nothing is kept. What
// cannot be written is not: the image is then asked for under its own name.
void note_image_source(int repository, const std::string& image, const std::string& source) noexcept;

}  // namespace imaged
