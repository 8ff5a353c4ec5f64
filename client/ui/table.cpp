// SPDX-License-Identifier: Apache-2.0
#include "ui/table.hpp"

#include <algorithm>

#include "ui/display-text.hpp"

namespace imagectl {

std::string table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows, bool legend) {
    std::vector<std::vector<std::string>> cells;
    if (legend) {
        auto& titles = cells.emplace_back();
        for (const auto& column : columns) titles.push_back(column.title);
    }
    for (const auto& row : rows) {
        auto& line = cells.emplace_back(columns.size());
        for (std::size_t i = 0; i < columns.size() && i < row.size(); i++) line[i] = escaped(row[i]);
    }
    std::vector<std::size_t> widths(columns.size());
    for (const auto& line : cells)
        for (std::size_t i = 0; i < line.size(); i++) widths[i] = std::max(widths[i], display_width(line[i]));
    std::string result;
    for (const auto& line : cells) {
        std::string text;
        for (std::size_t i = 0; i < line.size(); i++)
            text += (i ? "  " : "") + pad(line[i], widths[i], columns[i].right);
        text.erase(text.find_last_not_of(' ') + 1);
        result += text + "\n";
    }
    return result;
}

std::string fields(const std::vector<std::pair<std::string, std::string>>& fields) {
    std::size_t width = 0;
    for (const auto& [name, value] : fields) width = std::max(width, display_width(name) + 2);
    std::string result;
    for (const auto& [name, value] : fields) result += pad(name + ":", width) + escaped(value) + "\n";
    return result;
}

}  // namespace imagectl
