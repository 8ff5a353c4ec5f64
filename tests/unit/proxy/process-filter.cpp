// SPDX-License-Identifier: Apache-2.0
#include "process-filter.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "catch.hpp"

using namespace imaged;

namespace {

constexpr int refused = 7;

// How a process ends that becomes another program, after PREPARE.
template <typename Prepare>
int end_of_program(const Prepare& prepare) {
    const auto child = ::fork();
    if (child == 0) {
        prepare();
        ::execl("/bin/true", "true", nullptr);
        ::_exit(errno == EPERM ? refused : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a process that reads what strangers sent becomes no other program") {
    CHECK(end_of_program([] {}) == 0);
    CHECK(end_of_program([] { leave_other_processes_alone(); }) == 0);
    CHECK(end_of_program([] {
              leave_other_processes_alone();
              start_no_program();
          }) == refused);
}
