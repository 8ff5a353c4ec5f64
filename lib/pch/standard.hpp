// SPDX-License-Identifier: Apache-2.0
// The precompiled header: has those headers of the standard library that most files include. A library or program that
// uses it names it in meson.build (cpp_pch). Files still include all they need: -Db_pch=false builds without it.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
