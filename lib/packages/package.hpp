// SPDX-License-Identifier: Apache-2.0
// Stores which packages are installed in a tree, and compares the packages of two trees. The lists come from package
// databases in images, which are not trusted: any content gives packages, or an Error(corrupt_input) or
// Error(unsupported_image) that reports what is wrong. Pure functions and plain values.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/enum-names.hpp"

namespace imaged {

// The package manager whose rules apply to name and version.
enum class PackageFormat { dpkg, rpm };
constexpr auto names_of(PackageFormat) {
    return enum_names<PackageFormat>({{PackageFormat::dpkg, "dpkg"}, {PackageFormat::rpm, "rpm"}});
}

struct Package {
    PackageFormat format = PackageFormat::dpkg;
    std::string name;
    std::string architecture;  // empty if the package names none
    std::string version;       // with epoch and revision, as the package manager prints it
    auto operator<=>(const Package&) const = default;
};

// The packages of one tree.
class PackageSet {
public:
    // A whole distribution has some 70,000.
    static constexpr std::size_t max_packages = 100'000;
    // No distribution has longer names or versions.
    static constexpr std::size_t max_text_bytes = 256;

    // Throws Error(corrupt_input) for texts that are too long, empty if they must not be, or not printable ASCII
    // without spaces; Error(unsupported_image) for too many packages.
    void add(Package package);
    std::size_t size() const { return packages_.size(); }
    const std::set<Package>& packages() const { return packages_; }

private:
    std::set<Package> packages_;
};

// A package that differs. FROM is absent if it was added, TO if it was removed.
struct PackageChange {
    PackageFormat format = PackageFormat::dpkg;
    std::string name, architecture;
    std::optional<std::string> from, to;
    bool operator==(const PackageChange&) const = default;
};

struct PackageChanges {
    std::vector<PackageChange> changed, added, removed;  // ordered by name
};

// A package that is installed in several versions, as kernels are in RPM databases, is changed as often as both trees
// have a version that the other lacks. The architecture of a change is the new one.
PackageChanges compare_packages(const PackageSet& from, const PackageSet& to);

// Fills as much of its argument as there is: less than all of it only at the end.
using ReadBytes = std::function<std::size_t(std::span<std::byte>)>;

}  // namespace imaged
