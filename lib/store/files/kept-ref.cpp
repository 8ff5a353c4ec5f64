// SPDX-License-Identifier: Apache-2.0
#include "store/files/kept-ref.hpp"

#include <algorithm>
#include <charconv>

#include "store/files/ref-file.hpp"
#include "store/files/ref-name.hpp"

namespace imaged {

namespace {

constexpr std::string_view version_prefix = "version.";

std::string directory_of(const std::string& image_ref) {
    return std::string(kept_ref_directory) + "/" + image_ref.substr(image_ref_prefix.size());
}

std::optional<std::uint64_t> number_of(std::string_view name) {
    if (!name.starts_with(version_prefix)) return std::nullopt;
    name.remove_prefix(version_prefix.size());
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    // One number has one name: any other spelling is not ours.
    if (error != std::errc() || std::to_string(number) != name || number == UINT64_MAX) return std::nullopt;
    return number;
}

}  // namespace

std::vector<KeptRef> kept_refs(int repository, const std::string& image_ref, UnreadableRefs* unreadable) {
    std::vector<KeptRef> refs;
    const auto directory = directory_of(image_ref), prefix = directory + "/";
    visit_refs(repository, "refs/heads/" + directory, prefix, unreadable,
               [&](const std::string& ref, const std::optional<Checksum>& commit) {
                   if (!ref.starts_with(prefix)) return;
                   if (const auto number = number_of(std::string_view(ref).substr(prefix.size())))
                       refs.push_back({ref, *number, commit});
               });
    std::sort(refs.begin(), refs.end(), [](const auto& a, const auto& b) { return a.number > b.number; });
    return refs;
}

std::optional<std::pair<std::string, std::uint64_t>> parse_kept_ref(std::string_view ref) {
    const auto prefix = std::string(kept_ref_directory) + "/";
    const auto slash = ref.rfind('/');
    if (!ref.starts_with(prefix) || slash <= prefix.size()) return std::nullopt;
    const auto number = number_of(ref.substr(slash + 1));
    if (!number) return std::nullopt;
    return std::pair(std::string(image_ref_prefix) + std::string(ref.substr(prefix.size(), slash - prefix.size())),
                     *number);
}

std::optional<KeptRef> ref_to_keep(int repository, const std::string& image_ref, const Checksum& next) {
    const auto current = read_ref_file(repository, "refs/heads/" + image_ref).commit;
    if (!current || current == next) return std::nullopt;
    const auto kept = kept_refs(repository, image_ref);
    if (!kept.empty() && kept.front().commit == current) return std::nullopt;
    const auto number = kept.empty() ? 1 : kept.front().number + 1;
    return KeptRef{directory_of(image_ref) + "/" + std::string(version_prefix) + std::to_string(number), number,
                   current};
}

}  // namespace imaged
