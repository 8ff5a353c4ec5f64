// SPDX-License-Identifier: Apache-2.0
// Columns of text for people. Cells are escaped here; widths count terminal columns.
#pragma once

#include <string>
#include <vector>

namespace imagectl {

struct Column {
    std::string title;
    bool right = false;
};

// One line a row, titles first, each ended by a newline; no spaces at a line's end. Missing cells are empty.
// Without LEGEND there are no titles.
std::string table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows,
                  bool legend = true);

// "Name:      value" lines, values aligned.
std::string fields(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace imagectl
