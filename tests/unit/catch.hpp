// SPDX-License-Identifier: Apache-2.0
// Catch2, version 2 or 3. The main function comes from the library the tests are linked with.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
