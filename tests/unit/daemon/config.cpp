// SPDX-License-Identifier: Apache-2.0
#include "process/config.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"

namespace {

using imaged::ConfigFile;

imaged::ReadConfig parse_text(const std::string& text) {
    return imaged::parse_config({ConfigFile{"/etc/x.conf", text}});
}

std::string refused_text(const std::string& text) {
    try {
        parse_text(text);
    } catch (const imaged::Error& error) {
        CHECK(error.kind() == imaged::ErrorKind::invalid_argument);
        return error.what();
    }
    return "accepted";
}

// A root directory of files, gone with the object.
struct Root {
    std::string path;
    Root() {
        char name[] = "/tmp/imaged-config-XXXXXX";
        path = ::mkdtemp(name);
    }
    ~Root() { std::filesystem::remove_all(path); }
    void write(const std::string& name, const std::string& text) const {
        std::filesystem::create_directories(std::filesystem::path(path + name).parent_path());
        std::ofstream(path + name) << text;
    }
    imaged::Config config() const { return imaged::parse_config(imaged::system_config_files(path)).config; }
};

}  // namespace

TEST_CASE("every key of the configuration is read") {
    const auto read = parse_text(
        "# where\n[Repository]\nPath = /srv/images/repo/\n"
        "[Daemon]\nIdleSec=5min\nLogLevel=debug\nPassEnvironment=A B\nPassEnvironment=C\nQueuedJobs=9\n"
        "QueuedJobsPerUser=3\n"
        "[Pull]\nSignaturePolicy=signature\nLayersAtOnce=4\nStallSec=90s\nRetries=0\nDiskReserve=2G\nRate=10M\n"
        "[Background]\nRate=512K\n");
    CHECK(read.warnings.empty());
    const auto& config = read.config;
    CHECK(config.repository == "/srv/images/repo");
    CHECK(config.idle_timeout == std::chrono::minutes(5));
    CHECK(config.log_level == "debug");
    CHECK(config.pass_environment == std::vector<std::string>{"A", "B", "C"});
    CHECK(config.queued_jobs == 9);
    CHECK(config.queued_jobs_per_user == 3);
    CHECK(config.jobs.signature_policy == imaged::job::SignaturePolicy::signature);
    CHECK(config.jobs.layers_at_once == 4);
    CHECK(config.jobs.stall_time == std::chrono::seconds(90));
    CHECK(config.jobs.retries == 0);
    CHECK(config.jobs.disk_reserve == 2ULL << 30);
    CHECK(config.jobs.rate == 10U << 20);
    CHECK(config.jobs.background_rate == 512U << 10);
}

TEST_CASE("a configuration that is printed reads as the same") {
    auto config = parse_text("[Repository]\nPath=/x\n[Daemon]\nPassEnvironment=A B\n[Pull]\nStallSec=7\n").config;
    const auto again = parse_text(to_text(config));
    CHECK(again.warnings.empty());
    CHECK(to_text(again.config) == to_text(config));
    CHECK(again.config.jobs == config.jobs);
    CHECK(to_text(config).find("[Pull]\nSignaturePolicy=containers-policy\n") != std::string::npos);
}

TEST_CASE("unknown keys and sections are warnings with file and line") {
    const auto read = parse_text("[Pull]\nRetries=1\nColour=red\n\n[Paint]\nColour=blue\n");
    CHECK(read.warnings == std::vector<std::string>{"/etc/x.conf:3: unknown key Colour= in section [Pull], ignored",
                                                    "/etc/x.conf:6: unknown key Colour= in section [Paint], ignored"});
    CHECK(read.config.jobs.retries == 1);
}

TEST_CASE("bad values are refused with file and line") {
    CHECK(refused_text("[Pull]\n\nRetries=many\n") ==
          "/etc/x.conf:3: Retries=: must be a whole number from 0 to 100, not \"many\"");
    CHECK(refused_text("[Pull]\nStallSec=0\n") == "/etc/x.conf:2: StallSec=: must be at least one second");
    CHECK(refused_text("[Pull]\nDiskReserve=2 X\n").starts_with("/etc/x.conf:2: DiskReserve=: must be a size"));
    CHECK(refused_text("[Pull]\nDiskReserve=99999999999T\n").starts_with("/etc/x.conf:2:"));
    CHECK(refused_text("[Pull]\nRate=1023\n") == "/etc/x.conf:2: Rate=: must be 0, for no limit, or at least 1K");
    CHECK(!parse_text("[Pull]\nRate=0\n").config.jobs.rate);
    CHECK(refused_text("[Background]\nRate=fast\n").starts_with("/etc/x.conf:2: Rate=: must be a size"));
    CHECK(refused_text("[Pull]\nLayersAtOnce=0\n").starts_with("/etc/x.conf:2:"));
    CHECK(refused_text("[Pull]\nSignaturePolicy=maybe\n").starts_with("/etc/x.conf:2:"));
    CHECK(parse_text("[Pull]\nSignaturePolicy=signature-by-default\n").config.jobs.signature_policy ==
          imaged::job::SignaturePolicy::signature_by_default);
    CHECK(refused_text("[Daemon]\nIdleSec=-1\n").starts_with("/etc/x.conf:2:"));
    CHECK(refused_text("[Daemon]\nLogLevel=loud\n").starts_with("/etc/x.conf:2:"));
    CHECK(refused_text("[Daemon]\nPassEnvironment=A=B\n").starts_with("/etc/x.conf:2:"));
    CHECK(refused_text("[Repository]\nPath=repo\n").starts_with("/etc/x.conf:2:"));
    CHECK(refused_text("[Repository]\nPath=/a/ /\n") ==
          "/etc/x.conf:2: Path=: must not end with a blank or a backslash");
    CHECK(refused_text("[Repository]\nPath=/a\\").starts_with("/etc/x.conf:2:"));
}

TEST_CASE("text that is no configuration is refused with file and line") {
    CHECK(refused_text("Path=/x\n").starts_with("/etc/x.conf:1:"));
    CHECK(refused_text("[Pull]\nnonsense\n").starts_with("/etc/x.conf:2:"));
    CHECK(refused_text("[Pull\n").starts_with("/etc/x.conf:1:"));
    CHECK(refused_text(std::string("[Pull]\0", 7)).starts_with("/etc/x.conf:"));
}

TEST_CASE("an empty value is the default again") {
    const auto config =
        parse_text("[Pull]\nRetries=7\nRetries=\n[Daemon]\nPassEnvironment=A\nPassEnvironment=\n").config;
    CHECK(config.jobs.retries == imaged::Config().jobs.retries);
    CHECK(config.pass_environment.empty());
}

TEST_CASE("lines go on behind a backslash") {
    CHECK(parse_text("[Daemon]\nPassEnvironment=A \\\n  B \\\n# no\n  C\nLogLevel=off\n").config.pass_environment ==
          std::vector<std::string>{"A", "B", "C"});
}

TEST_CASE("configuration files are read in systemd's order") {
    const Root root;
    CHECK(root.config().jobs.retries == imaged::Config().jobs.retries);
    root.write("/usr/lib/imaged/imaged.conf", "[Pull]\nRetries=1\nStallSec=11\n");
    CHECK(root.config().jobs.retries == 1);
    SECTION("the main file in /etc is read in place of that in /usr/lib") {
        root.write("/etc/imaged/imaged.conf", "[Pull]\nRetries=2\n");
        CHECK(root.config().jobs.retries == 2);
        CHECK(root.config().jobs.stall_time == imaged::Config().jobs.stall_time);
    }
    SECTION("drop-ins come after the main file, by name whatever their directory") {
        root.write("/etc/imaged/imaged.conf", "[Pull]\nRetries=2\n");
        root.write("/etc/imaged/imaged.conf.d/10-a.conf", "[Pull]\nRetries=3\n");
        root.write("/usr/lib/imaged/imaged.conf.d/20-b.conf", "[Pull]\nRetries=4\n");
        CHECK(root.config().jobs.retries == 4);
    }
    SECTION("a drop-in in /etc replaces its namesake, and a link to /dev/null switches it off") {
        root.write("/usr/lib/imaged/imaged.conf.d/20-b.conf", "[Pull]\nRetries=4\nStallSec=12\n");
        root.write("/etc/imaged/imaged.conf.d/20-b.conf", "[Pull]\nRetries=5\n");
        CHECK(root.config().jobs.retries == 5);
        CHECK(root.config().jobs.stall_time == std::chrono::seconds(11));
        std::filesystem::remove(root.path + "/etc/imaged/imaged.conf.d/20-b.conf");
        std::filesystem::create_symlink("/dev/null", root.path + "/etc/imaged/imaged.conf.d/20-b.conf");
        CHECK(root.config().jobs.retries == 1);
    }
    SECTION("other files are left alone") {
        root.write("/etc/imaged/imaged.conf.d/README", "nonsense");
        root.write("/etc/imaged/imaged.conf.d/.hidden.conf", "nonsense");
        CHECK(root.config().jobs.retries == 1);
    }
}
