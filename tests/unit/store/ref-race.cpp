// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>

#include "catch.hpp"
#include "checksum-of.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

// libostree alone fails in a few of a thousand listings.
TEST_CASE("refs are listed while somebody writes others") {
    TemporaryRepository temporary;
    const auto commit = checksum_of('a');
    temporary.repository.set_ref("ostree/container/image/kept", commit);
    std::atomic<bool> done = false;
    std::thread writer([&] {
        Repository other(temporary.path);
        for (unsigned i = 0; !done; ++i) other.set_ref("ostree/container/image/" + std::to_string(i % 3), commit);
    });
    std::string failure;
    unsigned missing = 0;
    for (unsigned i = 0; i < 3000; ++i) {
        try {
            if (!temporary.repository.refs("ostree/container/image").contains("ostree/container/image/kept")) ++missing;
        } catch (const std::exception& error) {
            failure = error.what();
        }
    }
    done = true;
    writer.join();
    CHECK(failure == "");
    CHECK(missing == 0);
}
