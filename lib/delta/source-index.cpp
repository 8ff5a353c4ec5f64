// SPDX-License-Identifier: Apache-2.0
#include "delta/source-index.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"
#include "delta/format.hpp"

namespace imaged::delta {

namespace {

// More than most images have. What lies beyond is not used.
constexpr std::size_t max_files = 500'000;
constexpr std::size_t max_paths_bytes = 64 * 1024 * 1024;
// Files with one name in many directories, such as index.html: so many are compared.
constexpr std::size_t max_candidates = 64;
// Below this, a file of another directory is no better than what the layer itself has had.
constexpr std::uint64_t least_by_name_bytes = 16 * 1024;
// Digests of files that are kept.
constexpr std::size_t max_contents = 200'000;
constexpr const char* objects_path = "sysroot/ostree/repo/objects/";

std::uint64_t text_hash(std::string_view text) {
    return std::hash<std::string_view>()(text);
}

// TEXT with each number in it as one digit, and a hexadecimal tail such as that of a build as well.
std::string alike_text(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    bool in_number = false;
    for (const char c : text) {
        const bool digit = c >= '0' && c <= '9';
        // "6.1.0-18" and "6.1-9" are versions of one thing.
        if (in_number && (digit || c == '.' || c == '-' || c == '+' || c == '~')) continue;
        if (!digit) result += c;
        if (digit && !in_number) result += '0';
        in_number = digit;
    }
    return result;
}

std::string_view base_name(std::string_view path) {
    return path.substr(path.rfind('/') + 1);
}

std::string object_text(const Checksum& object) {
    const auto hex = object.hex();
    return objects_path + hex.substr(0, 2) + "/" + hex.substr(2) + ".file";
}

std::size_t common_ends(std::string_view a, std::string_view b) {
    const auto size = std::min(a.size(), b.size());
    std::size_t front = 0, back = 0;
    while (front < size && a[front] == b[front]) ++front;
    while (back < size - front && a[a.size() - 1 - back] == b[b.size() - 1 - back]) ++back;
    return front + back;
}

}  // namespace

std::string_view SourceIndex::path(Number number) const {
    const auto& entry = files_[number];
    return std::string_view(paths_).substr(entry.path_offset, entry.path_size);
}

void SourceIndex::add(std::string_view path, const Checksum& object, bool by_object) {
    if (path.empty() || path.size() > max_name_bytes || files_.size() >= max_files ||
        paths_.size() + path.size() > max_paths_bytes)
        return;
    const auto number = static_cast<Number>(files_.size());
    files_.push_back(
        {object, static_cast<std::uint32_t>(paths_.size()), static_cast<std::uint16_t>(path.size()), by_object});
    paths_ += path;
    exact_.emplace_back(text_hash(path), number);
    if (by_object) exact_.emplace_back(text_hash(object_text(object)), number);
    alike_.emplace_back(text_hash(alike_text(path)), number);
    names_.emplace_back(text_hash(alike_text(base_name(path))), number);
}

void SourceIndex::finish() {
    for (auto* table : {&exact_, &alike_, &names_}) std::sort(table->begin(), table->end());
}

std::string SourceIndex::name(Number number) const {
    return files_[number].by_object ? object_text(files_[number].object) : std::string(path(number));
}

std::optional<SourceIndex::Number> SourceIndex::at(std::string_view wanted) const {
    const auto hash = text_hash(wanted);
    for (auto found = std::lower_bound(exact_.begin(), exact_.end(), std::pair(hash, Number(0)));
         found != exact_.end() && found->first == hash; ++found) {
        if (path(found->second) == wanted || name(found->second) == wanted) return found->second;
    }
    return std::nullopt;
}

std::optional<SourceIndex::Number> SourceIndex::closest(const Table& table, std::uint64_t hash, std::string_view wanted,
                                                        std::uint64_t size) const {
    std::optional<Number> best;
    std::size_t best_common = 0, looked_at = 0;
    std::uint64_t best_distance = 0;
    for (auto found = std::lower_bound(table.begin(), table.end(), std::pair(hash, Number(0)));
         found != table.end() && found->first == hash && looked_at < max_candidates; ++found, ++looked_at) {
        const auto candidate = found->second;
        const auto own = hooks_.size(files_[candidate].object);
        if (!own || *own == 0) continue;
        const auto common = common_ends(path(candidate), wanted);
        const auto distance = *own > size ? *own - size : size - *own;
        if (best && (common < best_common || (common == best_common && distance >= best_distance))) continue;
        best = candidate;
        best_common = common;
        best_distance = distance;
    }
    return best;
}

std::optional<SourceIndex::Number> SourceIndex::like(std::string_view wanted, std::uint64_t size) const {
    if (const auto found = closest(alike_, text_hash(alike_text(wanted)), wanted, size)) return found;
    if (size < least_by_name_bytes) return std::nullopt;
    return closest(names_, text_hash(alike_text(base_name(wanted))), wanted, size);
}

bool SourceIndex::has_size(std::uint64_t size) {
    const std::lock_guard lock(mutex_);
    if (!sized_) {
        for (Number number = 0; number < files_.size(); ++number) {
            if (number % 1024 == 0) cancellation_.check();
            if (const auto found = hooks_.size(files_[number].object)) sizes_.emplace_back(*found, number);
        }
        std::sort(sizes_.begin(), sizes_.end());
        sized_ = true;
    }
    const auto found = std::lower_bound(sizes_.begin(), sizes_.end(), std::pair(size, Number(0)));
    return found != sizes_.end() && found->first == size;
}

std::optional<SourceIndex::Number> SourceIndex::with_content(std::uint64_t size, const Checksum& content) {
    if (!has_size(size)) return std::nullopt;
    const std::lock_guard lock(mutex_);
    auto known = contents_.find(size);
    if (known == contents_.end()) {
        if (contents_kept_ > max_contents) return std::nullopt;
        known = contents_.emplace(size, std::map<Checksum, Number>()).first;
        std::vector<std::byte> buffer(256 * 1024);
        for (auto found = std::lower_bound(sizes_.begin(), sizes_.end(), std::pair(size, Number(0)));
             found != sizes_.end() && found->first == size; ++found) {
            cancellation_.check();
            const auto file = open(found->second);
            if (!file.fd || file.size != size) continue;
            Sha256 hash;
            std::uint64_t done = 0;
            while (done < size) {
                cancellation_.check();
                const auto count = ::pread(file.fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(done));
                if (count < 0 && errno == EINTR) continue;
                if (count < 0) throw_errno("read a file of the source image");
                if (count == 0) break;
                hash.update(std::span(buffer).first(static_cast<std::size_t>(count)));
                done += static_cast<std::uint64_t>(count);
            }
            if (done != size) continue;
            known->second.emplace(hash.finish(), found->second);
            ++contents_kept_;
        }
    }
    const auto found = known->second.find(content);
    return found != known->second.end() ? std::optional(found->second) : std::nullopt;
}

}  // namespace imaged::delta
