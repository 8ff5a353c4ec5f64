// SPDX-License-Identifier: Apache-2.0
#include "layer/storable-xattrs.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::string_view label = "security.selinux";
constexpr std::string_view capability = "security.capability";
// linux/capability.h: VFS_CAP_REVISION_2 and _3 in the highest byte, and the size of each.
constexpr std::size_t capability_2_bytes = 20, capability_3_bytes = 24;
// security/integrity/integrity.h: IMA knows types up to 6; an EVM signature has 3 or 5, and 2 is bound to one host.
constexpr unsigned max_ima_type = 6;

bool is_in(std::string_view name, std::string_view name_space) {
    return name.size() > name_space.size() && name.starts_with(name_space);
}

unsigned byte_at(std::string_view value, std::size_t index) {
    return static_cast<unsigned char>(value[index]);
}

bool has_kernel_form(std::string_view name, std::string_view value) {
    if (name == capability)
        return (value.size() == capability_2_bytes && byte_at(value, 3) == 2) ||
               (value.size() == capability_3_bytes && byte_at(value, 3) == 3);
    if (name == "security.ima") return byte_at(value, 0) <= max_ima_type;
    if (name == "security.evm") return byte_at(value, 0) == 3 || byte_at(value, 0) == 5;
    return true;
}

bool is_storable(std::string_view name, std::string_view value, bool symlink) {
    constexpr std::array<std::string_view, 2> everywhere{"security.", "trusted."};
    const bool known = std::any_of(everywhere.begin(), everywhere.end(),
                                   [&](std::string_view name_space) { return is_in(name, name_space); }) ||
                       (!symlink && is_in(name, "user."));
    return known && !value.empty() && name.size() <= max_xattr_name_bytes && value.size() <= max_xattr_bytes &&
           has_kernel_form(name, value);
}

// In the form that the kernel gives back.
void normalise(std::string_view name, std::string& value) {
    if (name != capability || value.size() != capability_3_bytes) return;
    if (value.substr(capability_2_bytes).find_first_not_of('\0') != std::string::npos) return;
    value.resize(capability_2_bytes);
    value[3] = 2;
}

}  // namespace

std::uint64_t drop_unstorable(std::vector<std::pair<std::string, std::string>>& xattrs, bool symlink) {
    std::uint64_t dropped = 0;
    std::size_t names = 0, total = 0;
    std::erase_if(xattrs, [&](const auto& xattr) {
        const auto& [name, value] = xattr;
        if (name == label) return true;
        if (is_storable(name, value, symlink) && names + name.size() + 1 <= max_xattr_names_bytes &&
            total + name.size() + value.size() <= max_xattrs_bytes) {
            names += name.size() + 1;  // with the NUL behind it
            total += name.size() + value.size();
            return false;
        }
        ++dropped;
        return true;
    });
    for (auto& [name, value] : xattrs) normalise(name, value);
    return dropped;
}

void require_storable(const Xattrs& xattrs) {
    for (const auto& [name, value] : xattr_list(xattrs)) {
        if (!value.empty() && (is_in(name, "system.") || is_storable(name, value, false))) continue;
        throw Error(ErrorKind::unsupported_image, "the extended attribute \"" + name + "\" of " +
                                                      std::to_string(value.size()) +
                                                      " bytes cannot be stored: no Linux file system gives it back");
    }
}

}  // namespace imaged
