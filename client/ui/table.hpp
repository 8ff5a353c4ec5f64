// SPDX-License-Identifier: Apache-2.0
// Aligns text in columns for people. Cells are escaped here; widths count terminal columns.
#pragma once

#include <string>
#include <vector>

namespace imagectl {

struct Column {
    std::string title;
    bool right = false;
    bool may_be_long = false;  // one of a table's
};

// Columns of standard output if it is a terminal; any number otherwise.
std::size_t output_width();

// One line a row, titles first, each ended by a newline; no spaces at a line's end. Cells that are empty or missing are
// "-". Without LEGEND there are no titles. Where a cell that may be long leaves no room for the others in WIDTH, those
// behind it stand on the next line.
std::string table(const std::vector<Column>& columns, std::vector<std::vector<std::string>> rows, bool legend = true,
                  std::size_t width = output_width());

// "Name:      value" lines, values aligned.
std::string fields(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace imagectl
