// SPDX-License-Identifier: Apache-2.0
// The main function of every unit test program.
#define CATCH_CONFIG_RUNNER
#include "catch.hpp"

int main(int argc, char** argv) {
    return Catch::Session().run(argc, argv);
}
