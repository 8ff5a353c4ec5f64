// SPDX-License-Identifier: Apache-2.0
#include "store/objects/object-check.hpp"

#include <unistd.h>

#include "catch.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

namespace {

// Whether imaged's own check, and libostree's, finds a fault in a file with XATTRS.
std::pair<bool, bool> faults(const std::vector<std::pair<std::string, std::string>>& xattrs) {
    TemporaryRepository home;
    const auto sink = home.repository.make_sink(home.staging, home.pool);
    const auto file = sink->put_file({::geteuid(), ::getegid(), 0100644, make_xattrs(xattrs)}, {});
    sink->publish();
    std::optional<bool> found;
    const Cancellation cancellation;
    for (unsigned directory = 0; directory < object_directories; ++directory) {
        visit_objects(home.repository.objects(), directory, [&](const LooseObject& object) {
            if (object.checksum == file)
                found = ObjectCheck(home.repository, cancellation).fault_of(object).has_value();
        });
    }
    REQUIRE(found);
    GError* fault = nullptr;
    ostree_repo_fsck_object(home.repository.handle(), OSTREE_OBJECT_TYPE_FILE, file.hex().c_str(), nullptr, &fault);
    const bool theirs = fault != nullptr;
    g_clear_error(&fault);
    return {*found, theirs};
}

}  // namespace

TEST_CASE("the check of a file's attributes finds what libostree's finds", "[object-check]") {
    CHECK(faults({{"user.a", "x"}}) == std::pair(false, false));
    // Older versions of imaged stored attributes without a value, which libostree does not read back.
    const auto [ours, theirs] = faults({{"user.a", "x"}, {"user.empty", ""}});
    CHECK(ours == theirs);
    if (::geteuid() == 0) CHECK(ours);  // a bare repository, where the attributes are the file's own
}
