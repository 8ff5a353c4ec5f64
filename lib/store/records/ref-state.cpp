// SPDX-License-Identifier: Apache-2.0
#include "store/records/ref-state.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/record-file.hpp"
#include "store/files/ref-name.hpp"
#include "store/files/sealed-record.hpp"

namespace imaged {

namespace {

constexpr const char* refs_record = "refs";
constexpr std::string_view refs_version = "imaged refs 2";
// Of half a million refs.
constexpr std::size_t max_refs_bytes = 64 * 1024 * 1024;

std::optional<std::string> name_below(const std::string& path, std::string_view directory) {
    if (!path.starts_with(directory)) return std::nullopt;
    return path.substr(directory.size());
}

std::set<std::string> listed_elsewhere() {
    std::set<std::string> paths;
    for (const auto* directory : own_ref_directories) paths.insert(std::string("refs/heads/") + directory);
    return paths;
}

}  // namespace

RefState::RefState(const Repository& repository)
    : repository_(repository),
      images_(repository.fd(), image_ref_directory),
      kept_(repository.fd(), kept_ref_directory),
      others_(RefListing::of_all(repository.fd(), listed_elsewhere())) {}

void RefState::recall() noexcept {
    try {
        const auto directory = open_records(repository_.fd(), records_directory);
        const auto text = directory ? read_record(directory.get(), refs_record, max_refs_bytes) : std::nullopt;
        if (const auto body = text ? unsealed(*text, refs_version) : std::nullopt) others_.restore(*body);
    } catch (const std::exception&) {
        // All refs are read then.
    }
}

void RefState::remember() const {
    if (!others_.has_news()) return;
    auto text = std::string(refs_version) + others_.record();
    seal(text);
    if (text.size() > max_refs_bytes) return;
    if (const auto directory = make_records(repository_.fd(), records_directory))
        write_record(directory.get(), refs_record, text);
}

bool RefState::refresh() {
    // Each looks again, whatever another found.
    bool changed = images_.refresh();
    changed |= kept_.refresh();
    const bool others_changed = others_.refresh();
    if (!changed && !others_changed && !is_new_) return false;
    is_new_ = false;
    const auto before = std::exchange(value_, std::nullopt);
    return changed || !before || value() != *before;
}

const Checksum& RefState::value() const {
    if (!value_) value_ = compute();
    return *value_;
}

Refs RefState::refs() const {
    Refs refs, mirrored;
    const auto add = [&](const std::string& ref, const std::optional<Checksum>& commit) { refs.emplace(ref, commit); };
    for (const auto* const listing : {&images_, &kept_, &others_}) listing->require_readable();
    images_.visit(add);
    kept_.visit(add);
    others_.visit([&](const std::string& path, const auto& commit) {
        if (const auto ref = name_below(path, "refs/heads/")) add(*ref, commit);
        if (const auto ref = name_below(path, "refs/mirrors/")) mirrored.emplace(*ref, commit);
        if (auto ref = name_below(path, "refs/remotes/")) {
            const auto slash = ref->find('/');
            if (slash != std::string::npos) add(ref->replace(slash, 1, ":"), commit);
        }
    });
    refs.merge(mirrored);
    return refs;
}

Checksum RefState::compute() const {
    struct stat status;
    if (::fstat(repository_.objects(), &status) != 0) throw_errno("look at the objects of " + repository_.path());
    Sha256 hash;
    hash.update(std::to_string(status.st_ino) + "\n");
    for (const auto* const listing : {&images_, &kept_, &others_}) {
        const auto& refs = listing->refs();
        std::vector<std::pair<std::string_view, const std::optional<Checksum>*>> sorted;
        sorted.reserve(refs.size());
        for (const auto& [ref, commit] : refs) sorted.emplace_back(ref, &commit);
        std::sort(sorted.begin(), sorted.end());
        for (const auto& [ref, commit] : sorted)
            hash.update(std::string(ref) + " " + (*commit ? (*commit)->hex() : "") + "\n");
        hash.update("\n");
    }
    return hash.finish();
}

}  // namespace imaged
