// SPDX-License-Identifier: Apache-2.0
#include "store/export/export-layout.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/replace-file.hpp"
#include "layer/tar-writer.hpp"
#include "oci/delta-artifact.hpp"
#include "store/export/delta-documents.hpp"

namespace imaged {

namespace {

using nlohmann::ordered_json;

constexpr const char* layout_text = R"({"imageLayoutVersion":"1.0.0"})";
constexpr const char* name_key = "org.opencontainers.image.ref.name";
// What is being written, until it has its name; its writer holds a lock on it.
constexpr std::string_view partial_prefix = ".imaged-";
// An index of some ten thousand images.
constexpr std::size_t max_index_bytes = 4 * 1024 * 1024;

// A file that remove_partial() leaves alone for as long as it is open.
FileDescriptor open_partial(int directory, const std::string& name) {
    auto file = open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
    // If the file system has no locks, other jobs cannot lock the file and remove it either.
    ::flock(file.get(), LOCK_EX | LOCK_NB);
    return file;
}

// Removes the files of DIRECTORY whose names begin with PREFIX and that nobody writes: a job that was killed left them.
void remove_partial(const std::string& directory, std::string_view prefix) {
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
        if (!entry.path().filename().string().starts_with(prefix)) continue;
        const auto file = try_open_at(AT_FDCWD, entry.path().string(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (file && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
    }
}

ordered_json read_index(int directory) {
    ordered_json index{{"schemaVersion", 2}, {"mediaType", oci_index_type}, {"manifests", ordered_json::array()}};
    const auto file = try_open_file(directory, "index.json", O_NOFOLLOW);
    if (!file) return index;
    auto found = parse_ordered_json(read_all(file.get(), max_index_bytes, "index.json"));
    if (!found.is_object() || !found.contains("manifests") || !found["manifests"].is_array())
        throw Error(ErrorKind::corrupt_input, "index.json of the layout is not an OCI index");
    return found;
}

std::string name_of(const ordered_json& entry) {
    if (!entry.is_object() || !entry.contains("annotations")) return {};
    const auto& annotations = entry["annotations"];
    if (!annotations.is_object() || !annotations.contains(name_key) || !annotations[name_key].is_string()) return {};
    return annotations[name_key].get<std::string>();
}

ordered_json index_entry(const std::string& type, const Descriptor& blob, const std::optional<std::string>& tag) {
    ordered_json entry{{"mediaType", type}, {"digest", blob.digest.text()}, {"size", blob.size}};
    if (tag) entry["annotations"] = {{name_key, *tag}};
    return entry;
}

class FileSink : public ByteSink {
public:
    explicit FileSink(int fd) : fd_(fd) {}
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override { write_all(fd_, bytes, "the archive"); }

private:
    const int fd_;
};

void add_file(TarWriter& tar, int directory, const std::string& name, const Cancellation& cancellation) {
    const auto file = open_file(directory, name);
    struct stat status;
    if (::fstat(file.get(), &status) != 0) throw_errno("look at " + name);
    TarItem item;
    item.path = name;
    item.mode = 0644;
    item.size = static_cast<std::uint64_t>(status.st_size);
    tar.begin(item);
    std::vector<std::byte> buffer(256 * 1024);
    for (;;) {
        cancellation.check();
        const auto count = ::read(file.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read " + name);
        if (count == 0) break;
        tar.content(std::span<const std::byte>(buffer).first(static_cast<std::size_t>(count)));
    }
    if (::unlinkat(directory, name.c_str(), 0) != 0) throw_errno("remove " + name);
}

}  // namespace

ExportLayout::ExportLayout(const std::string& path) {
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) throw_errno("make the directory " + path);
    directory_ = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    struct stat status;
    if (::fstatat(directory_.get(), "oci-layout", &status, 0) != 0) {
        if (errno != ENOENT) throw_errno("look at " + path + "/oci-layout");
        visit_directory(open_at(directory_.get(), ".", O_RDONLY | O_DIRECTORY), path, [&](const DirectoryEntry&) {
            throw Error(ErrorKind::invalid_argument, path + " is neither empty nor an OCI image layout");
        });
        replace_file(directory_.get(), "oci-layout", layout_text, Durability::durable);
    }
    for (const auto* name : {"blobs", "blobs/sha256"}) {
        if (::mkdirat(directory_.get(), name, 0755) != 0 && errno != EEXIST) throw_errno("make " + path + "/" + name);
    }
    blobs_ = open_at(directory_.get(), "blobs/sha256", O_RDONLY | O_DIRECTORY);
    remove_partial(path + "/blobs/sha256", partial_prefix);
}

ExportLayout::Blob::Blob(ExportLayout& layout) : layout_(layout) {
    const std::lock_guard lock(layout.mutex_);
    name_ = std::string(partial_prefix) + std::to_string(::getpid()) + "-" + std::to_string(layout.next_++);
    file_ = open_partial(layout.blobs_.get(), name_);
}

ExportLayout::Blob::~Blob() {
    if (file_) ::unlinkat(layout_.blobs_.get(), name_.c_str(), 0);
}

void ExportLayout::Blob::write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    hash_.update(bytes);
    size_ += bytes.size();
    write_all(file_.get(), bytes, "a blob");
}

Descriptor ExportLayout::Blob::finish() {
    const Digest digest(hash_.finish());
    if (::renameat(layout_.blobs_.get(), name_.c_str(), layout_.blobs_.get(), digest.hex().c_str()) != 0)
        throw_errno("name a blob");
    file_.reset();
    const std::lock_guard lock(layout_.mutex_);
    layout_.finished_.insert(digest);
    return {{}, digest, size_};
}

Descriptor ExportLayout::put(std::string_view text) {
    Blob blob(*this);
    blob.write(text);
    return blob.finish();
}

std::set<Digest> ExportLayout::blobs() const {
    const std::lock_guard lock(mutex_);
    return finished_;
}

void ExportLayout::publish(const Descriptor& manifest, const std::optional<std::string>& tag) {
    if (::syncfs(directory_.get()) != 0) throw_errno("sync the layout");
    auto index = read_index(directory_.get());
    auto manifests = ordered_json::array();
    for (auto& entry : index["manifests"]) {
        if (name_of(entry) != tag.value_or("")) manifests.push_back(std::move(entry));
    }
    manifests.push_back(
        index_entry(manifest.media_type.empty() ? oci_manifest_type : manifest.media_type, manifest, tag));
    index["manifests"] = std::move(manifests);
    replace_file(directory_.get(), "index.json", json_text(index), Durability::durable);
}

void ExportLayout::require_delta_tag(const std::optional<std::string>& tag) const {
    if (!tag) return;
    const auto index = read_index(directory_.get());
    for (const auto& entry : index["manifests"]) {
        if (name_of(entry) != *tag || (entry.contains("artifactType") && entry["artifactType"] == delta::artifact_type))
            continue;
        throw Error(ErrorKind::invalid_argument,
                    "the layout has an image with the tag " + *tag + ": give the delta another one, or none");
    }
}

void ExportLayout::publish_delta(const Descriptor& artifact, const std::optional<std::string>& tag,
                                 const Digest& target, const Digest& source_config) {
    auto index = read_index(directory_.get());
    const auto list_tag = delta::referrers_tag(target);
    std::optional<std::string> listed;
    auto manifests = ordered_json::array();
    for (auto& entry : index["manifests"]) {
        const auto name = name_of(entry);
        if (name == list_tag && entry.contains("digest") && entry["digest"].is_string()) {
            const auto hex = Digest::parse(entry["digest"].get<std::string>()).hex();
            listed =
                read_all(open_file(blobs_.get(), hex, O_NOFOLLOW).get(), max_index_bytes, "the index of artifacts");
        } else if (!(tag && name == *tag) && !(name.empty() && is_of_digest(entry, artifact.digest))) {
            manifests.push_back(std::move(entry));
        }
    }
    const auto list = put(referrers_index(listed, artifact, source_config));
    if (::syncfs(directory_.get()) != 0) throw_errno("sync the layout");
    auto entry = index_entry(oci_manifest_type, artifact, tag);
    entry["artifactType"] = delta::artifact_type;
    manifests.push_back(std::move(entry));
    manifests.push_back(index_entry(oci_index_type, list, list_tag));
    index["manifests"] = std::move(manifests);
    replace_file(directory_.get(), "index.json", json_text(index), Durability::durable);
}

void write_layout_archive(const std::string& layout, const std::set<Digest>& blobs, const std::string& path,
                          const Cancellation& cancellation) {
    const auto directory = open_at(AT_FDCWD, layout, O_RDONLY | O_DIRECTORY);
    const auto place = std::filesystem::path(path);
    const auto prefix = place.filename().string() + std::string(partial_prefix);
    remove_partial(place.parent_path().string(), prefix);
    const auto partial = (place.parent_path() / (prefix + std::to_string(::getpid()))).string();
    const auto file = open_partial(AT_FDCWD, partial);
    try {
        FileSink sink(file.get());
        TarWriter tar(sink, TarStyle::pax);
        for (const auto* name : {"oci-layout", "index.json"}) add_file(tar, directory.get(), name, cancellation);
        // By name: a listing does not show what another program has removed.
        for (const auto& blob : blobs) add_file(tar, directory.get(), "blobs/sha256/" + blob.hex(), cancellation);
        tar.finish();
        if (::fsync(file.get()) != 0) throw_errno("sync " + path);
        // Unlike rename(2), this replaces nothing.
        if (::link(partial.c_str(), path.c_str()) != 0) {
            if (errno == EEXIST) throw Error(ErrorKind::invalid_argument, path + " is there already");
            throw_errno("name " + path);
        }
    } catch (...) {
        ::unlink(partial.c_str());
        throw;
    }
    ::unlink(partial.c_str());
}

}  // namespace imaged
