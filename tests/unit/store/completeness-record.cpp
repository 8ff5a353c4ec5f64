// SPDX-License-Identifier: Apache-2.0
#include "store/repository/completeness-record.hpp"

#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/cancellation.hpp"
#include "catch.hpp"
#include "layer/dirtree.hpp"
#include "store/records/presence.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

namespace {

// A commit with one file, and a repository whose object directories have not changed for a while.
struct Settled : TemporaryRepository {
    Settled() {
        const auto sink = repository.make_sink(staging, pool);
        file = sink->put_file({0, 0, S_IFREG | 0644, nullptr}, {std::byte{'x'}});
        CommitContent content;
        content.tree = sink->put_metadata(ObjectType::dirtree, serialise_dirtree({{{"name", file}}, {}}));
        content.meta = sink->put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, 040755, nullptr}));
        commit = sink->put_metadata(ObjectType::commit, serialise_commit(content));
        sink->publish();
        std::this_thread::sleep_for(std::chrono::milliseconds(2200));
        Presence presence(repository, cancellation);
        REQUIRE(presence.complete(commit));
        presence.remember();
    }

    std::string object() const {
        return path + "/objects/" + file.hex().substr(0, 2) + "/" + file.hex().substr(2) + ".file";
    }
    std::string record() const { return path + "/extensions/imaged/complete"; }
    bool known() const { return CompletenessRecord(repository).holds(commit); }
    bool complete() const { return Presence(repository, cancellation).complete(commit); }

    Cancellation cancellation;
    Checksum file, commit;
};

}  // namespace

TEST_CASE("what was found complete is known later, until an object goes") {
    const Settled settled;
    CHECK(settled.known());
    CHECK(settled.complete());
    std::filesystem::remove(settled.object());
    CHECK_FALSE(settled.known());
    CHECK_FALSE(settled.complete());
}

TEST_CASE("an object that comes makes everything unknown, and nothing incomplete") {
    const Settled settled;
    std::ofstream(settled.object() + "x") << "new";
    CHECK_FALSE(settled.known());
    CHECK(settled.complete());
}

TEST_CASE("a record that is cut off or of another state counts for nothing") {
    const Settled settled;
    const auto whole = std::filesystem::file_size(settled.record());
    for (const auto size : {whole - 1, whole - 5, whole / 2, std::uintmax_t{0}}) {
        std::filesystem::resize_file(settled.record(), size);
        CHECK_FALSE((size < whole - 1 && settled.known()));
    }
    std::ofstream(settled.record()) << std::string(64, '0') << "\n" << settled.commit.hex() << "\nend\n";
    CHECK_FALSE(settled.known());
    CHECK(settled.complete());
}

TEST_CASE("directories that changed a moment ago are not relied on") {
    const Settled settled;
    std::ofstream(settled.object() + "x") << "new";
    Presence presence(settled.repository, settled.cancellation);
    REQUIRE(presence.complete(settled.commit));
    presence.remember();
    CHECK_FALSE(settled.known());
}
