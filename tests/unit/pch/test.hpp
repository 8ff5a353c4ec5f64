// SPDX-License-Identifier: Apache-2.0
// Precompiled for each unit test program; see lib/pch/standard.hpp.
#include "../../../lib/pch/standard.hpp"
#include "../catch.hpp"
