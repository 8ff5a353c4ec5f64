// SPDX-License-Identifier: Apache-2.0
// nlohmann::json for files that look into values. Include this header in place of <nlohmann/json.hpp>: the parser and
// the serializer of that header cost seconds in every file that uses them, and here they are in json.cpp only.
#pragma once

#include <nlohmann/json.hpp>

#include "base/json-fwd.hpp"

extern template class nlohmann::basic_json<>;
