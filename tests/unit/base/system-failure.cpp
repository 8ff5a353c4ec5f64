// SPDX-License-Identifier: Apache-2.0
#include "base/system-failure.hpp"

#include <gio/gio.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/glib.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

template <typename Function>
Error error_of(Function&& function) {
    try {
        function();
    } catch (...) {
        return current_error();
    }
    return Error(ErrorKind::failed, "nothing was thrown");
}

Error glib_error(int error_number) {
    ErrorSlot slot;
    g_set_error(slot.out(), G_IO_ERROR, g_io_error_from_errno(error_number), "openat: %s", g_strerror(error_number));
    return error_of([&] { slot.raise("open"); });
}

}  // namespace

TEST_CASE("ENOSPC and EDQUOT are no space, in any call, and ENOMEM is not") {
    for (const int number : {ENOSPC, EDQUOT}) {
        CHECK(system_error(number, "write").kind() == ErrorKind::no_space);
        CHECK(glib_error(number).kind() == ErrorKind::no_space);
        const std::filesystem::filesystem_error failure("cannot create", "/x",
                                                        std::error_code(number, std::generic_category()));
        CHECK(error_of([&] { throw failure; }).kind() == ErrorKind::no_space);
    }
    CHECK(glib_error(ENOMEM).kind() == ErrorKind::failed);
}

TEST_CASE("the errno of an error is known behind any context") {
    for (const int number : {EIO, EMFILE, EACCES, ENOLCK, EDQUOT})
        CHECK(error_number(glib_error(number).with_context("layer")) == number);
    CHECK_FALSE(error_number(Error(ErrorKind::failed, "a message")));
}

TEST_CASE("a shortage is told from a fault of what was read") {
    CHECK(is_shortage(system_error(EMFILE, "open")));
    CHECK(is_shortage(error_of([] { throw std::bad_alloc(); })));
    CHECK_FALSE(is_shortage(system_error(EIO, "read")));
    CHECK_FALSE(is_shortage(Error(ErrorKind::repository_damaged, "object x is missing")));
}

TEST_CASE("a failure of the system is no damage") {
    CHECK(as_damage(system_error(EIO, "open")).kind() == ErrorKind::failed);
    CHECK(as_damage(system_error(EDQUOT, "open")).kind() == ErrorKind::no_space);
    CHECK(as_damage(system_error(ENOTDIR, "open")).kind() == ErrorKind::repository_damaged);
    CHECK(as_damage(Error(ErrorKind::failed, "Not a repository")).kind() == ErrorKind::repository_damaged);
}

TEST_CASE("what could not be had is named when no thread can be started") {
    const std::system_error failure(EAGAIN, std::generic_category());
    CHECK(std::string(error_of([&] { throw failure; }).what()).find("thread") != std::string::npos);
}
