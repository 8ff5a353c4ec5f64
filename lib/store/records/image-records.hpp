// SPDX-License-Identifier: Apache-2.0
// Keeps a value for each stored image in 256 files, so that a job reads and writes a small part of them, however many
// images there are.
//
// On disk: DIRECTORY/HH.json, {"IMAGE": VALUE}, replaced by rename(2). HH is the first byte of a hash (32-bit FNV-1a)
// of the image's name. An invalid file counts as empty. Processes that change them wait for each other's lock, flock(2)
// of extensions/imaged/lock, which other users cannot open.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>

#include "base/file-descriptor.hpp"
#include "base/file-stamp.hpp"
#include "base/replace-file.hpp"

namespace imaged {

inline constexpr unsigned image_record_files = 256;

// Returns HH of the file HH.json that has the value of IMAGE.
unsigned char image_record_number(const std::string& image);
std::string image_record_name(unsigned char number);

// Waits until no other process changes such files, and locks them for as long as the descriptor is open. Returns an
// empty descriptor if there is no directory for them. Throws a system error.
FileDescriptor lock_image_records(int repository);

// VALUE is a text, or a map of texts by texts. All of them, for listings. Belongs to one thread; borrows the
// repository's directory.
template <typename Value>
class ImageRecords {
public:
    // By image, as its name is stored.
    using Values = std::map<std::string, Value>;

    ImageRecords(int repository, const char* directory) : repository_(repository), path_(directory) {}

    // Reads the files that changed since the last time; true if there are any. If the system cannot read one
    // (record-file.hpp), what was known of it holds until the next time.
    bool refresh();
    // Whether refresh() has read another file with the value of IMAGE since forget().
    bool has_changed(const std::string& image) const { return files_[image_record_number(image)].changed; }
    // Returns the value of IMAGE, or null if it has none. Valid until forget(); after that reads the file again.
    const Value* of(const std::string& image);
    // Gives back the memory that the values take. Nothing has changed since.
    void forget();

    // Read and write one file. Throw if the system cannot read or write it. A caller that writes values which depend on
    // what it has read holds the lock meanwhile.
    static Values read(int repository, const char* directory, unsigned char number);
    static void write(int repository, const char* directory, unsigned char number, const Values& values,
                      Durability durability);

private:
    struct File {
        FileStamp stamp;
        std::optional<Values> values;  // none: not in memory
        bool changed = false;
    };
    bool refresh(File& file, unsigned char number);

    const int repository_;
    const char* const path_;
    DirectoryStamp directory_;
    std::array<File, image_record_files> files_;  // HH.json
};

extern template class ImageRecords<std::string>;
extern template class ImageRecords<std::map<std::string, std::string>>;

}  // namespace imaged
