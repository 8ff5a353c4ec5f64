// SPDX-License-Identifier: Apache-2.0
#include "ui/table.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "ui/display-text.hpp"

namespace imagectl {

namespace {

constexpr std::size_t gap = 2, usual_width = 80;

using Cells = std::vector<std::vector<std::string>>;

std::vector<std::size_t> column_widths(const std::vector<Column>& columns, const Cells& cells, std::size_t width) {
    std::vector<std::size_t> widths(columns.size());
    for (const auto& line : cells)
        for (std::size_t i = 0; i < line.size(); i++) widths[i] = std::max(widths[i], display_width(line[i]));
    const auto is_long = std::find_if(columns.begin(), columns.end(), [](const auto& c) { return c.may_be_long; });
    if (is_long == columns.end()) return widths;
    const auto at = static_cast<std::size_t>(is_long - columns.begin());
    std::size_t others = gap * (columns.size() - 1);
    for (std::size_t i = 0; i < widths.size(); i++)
        if (i != at) others += widths[i];
    if (width >= others && widths[at] <= width - others) return widths;
    // As wide as the widest cell that leaves room.
    const auto room = std::max(width > others ? width - others : 0, display_width(is_long->title));
    widths[at] = 0;
    for (const auto& line : cells)
        if (const auto own = display_width(line[at]); own <= room) widths[at] = std::max(widths[at], own);
    return widths;
}

}  // namespace

std::size_t output_width() {
    winsize size{};
    if (isatty(STDOUT_FILENO) == 0) return std::numeric_limits<std::size_t>::max();
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : usual_width;
}

std::string table(const std::vector<Column>& columns, Cells rows, bool legend, std::size_t width) {
    for (auto& row : rows) {
        row.resize(columns.size());
        for (auto& cell : row) {
            if (cell.empty()) cell = "-";
            escape(cell);
        }
    }
    if (legend) {
        std::vector<std::string> titles;
        for (const auto& column : columns) titles.push_back(column.title);
        rows.insert(rows.begin(), std::move(titles));
    }
    const auto widths = column_widths(columns, rows, width);
    std::string result;
    for (const auto& line : rows) {
        std::size_t begin = 0;
        for (std::size_t i = 0; i < line.size(); i++) {
            const bool fits = append_padded(result, line[i], widths[i], columns[i].right);
            begin += widths[i] + gap;
            if (i + 1 == line.size()) break;
            if (!fits) result += '\n';
            result.append(fits ? gap : begin, ' ');
        }
        result.erase(result.find_last_not_of(' ') + 1);
        result += '\n';
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
