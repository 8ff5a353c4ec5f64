// SPDX-License-Identifier: Apache-2.0
// Precompiled for the libraries and programs that name it (cpp_pch in meson.build): the headers of the standard library
// that most of their files include. Files include what they need all the same: -Db_pch=false builds without it.
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
