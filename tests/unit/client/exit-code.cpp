// SPDX-License-Identifier: Apache-2.0
#include "bus/exit-code.hpp"

#include "catch.hpp"

using namespace imagectl;

TEST_CASE("error names have their exit codes") {
    CHECK(exit_code("org.imaged1.Error.NotFound") == ExitCode::not_found);
    CHECK(exit_code("org.imaged1.Error.SourceDenied") == ExitCode::denied);
    CHECK(exit_code("org.imaged1.Error.DigestMismatch") == ExitCode::bad_image);
    CHECK(exit_code("org.imaged1.Error.Cancelled") == ExitCode::cancelled);
    CHECK(exit_code("org.freedesktop.DBus.Error.ServiceUnknown") == ExitCode::no_daemon);
    CHECK(exit_code("org.freedesktop.DBus.Error.Spawn.ChildExited") == ExitCode::no_daemon);
}

TEST_CASE("a name nobody knows is a failure") {
    CHECK(exit_code("") == ExitCode::failed);
    CHECK(exit_code("org.imaged1.Error.NotFoundX") == ExitCode::failed);
}
