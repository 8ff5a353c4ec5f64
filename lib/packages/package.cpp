// SPDX-License-Identifier: Apache-2.0
#include "packages/package.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.hpp"

namespace imaged {

namespace {

void require_text(const std::string& text, const char* what) {
    if (text.size() > PackageSet::max_text_bytes)
        throw Error(ErrorKind::corrupt_input, std::string("the ") + what + " of a package is longer than " +
                                                  std::to_string(PackageSet::max_text_bytes) + " bytes");
    if (!std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; }))
        throw Error(ErrorKind::corrupt_input, std::string("the ") + what +
                                                  " of a package has other characters than "
                                                  "printable ASCII");
}

using Name = std::pair<PackageFormat, std::string>;
using Versions = std::vector<std::pair<std::string, std::string>>;  // architecture, version

// Those that OTHER has not, by name.
std::map<Name, Versions> only_in(const PackageSet& packages, const PackageSet& other) {
    std::map<Name, Versions> only;
    for (const auto& package : packages.packages()) {
        if (other.packages().contains(package)) continue;
        only[{package.format, package.name}].emplace_back(package.architecture, package.version);
    }
    return only;
}

// The versions of one package that only one side has: those of one architecture belong together, then the others.
void compare_versions(const Name& name, const Versions& from, const Versions& to, PackageChanges& changes) {
    const auto format = name.first;
    const auto& text = name.second;
    const auto pair_up = [&](const Versions& before, const Versions& after) {
        const auto common = std::min(before.size(), after.size());
        for (std::size_t i = 0; i < common; ++i)
            changes.changed.push_back({format, text, after[i].first, before[i].second, after[i].second});
        return common;
    };
    std::map<std::string, std::pair<Versions, Versions>> by_architecture;
    for (const auto& version : from) by_architecture[version.first].first.push_back(version);
    for (const auto& version : to) by_architecture[version.first].second.push_back(version);
    Versions before, after;
    for (const auto& [architecture, sides] : by_architecture) {
        const auto common = static_cast<std::ptrdiff_t>(pair_up(sides.first, sides.second));
        before.insert(before.end(), sides.first.begin() + common, sides.first.end());
        after.insert(after.end(), sides.second.begin() + common, sides.second.end());
    }
    const auto common = pair_up(before, after);
    for (auto i = common; i < after.size(); ++i)
        changes.added.push_back({format, text, after[i].first, std::nullopt, after[i].second});
    for (auto i = common; i < before.size(); ++i)
        changes.removed.push_back({format, text, before[i].first, before[i].second, std::nullopt});
}

}  // namespace

void PackageSet::add(Package package) {
    require_text(package.name, "name");
    require_text(package.architecture, "architecture");
    require_text(package.version, "version");
    if (package.name.empty()) throw Error(ErrorKind::corrupt_input, "a package has no name");
    if (package.version.empty()) throw Error(ErrorKind::corrupt_input, "package " + package.name + " has no version");
    packages_.insert(std::move(package));
    if (packages_.size() > max_packages)
        throw Error(ErrorKind::unsupported_image, "it has more than " + std::to_string(max_packages) + " packages");
}

PackageChanges compare_packages(const PackageSet& from, const PackageSet& to) {
    auto before = only_in(from, to), after = only_in(to, from);
    std::set<Name> names;
    for (const auto* const side : {&before, &after})
        for (const auto& [name, versions] : *side) names.insert(name);
    PackageChanges changes;
    for (const auto& name : names) compare_versions(name, before[name], after[name], changes);
    return changes;
}

}  // namespace imaged
