// SPDX-License-Identifier: Apache-2.0
#include "ui/table.hpp"

#include "catch.hpp"

using namespace imagectl;

TEST_CASE("cells that are empty or missing are dashes", "[table]") {
    CHECK(table({{"A"}, {"B", true}, {"C"}}, {{"", "1", "x"}, {"y", "", ""}, {"z"}}) ==
          "A  B  C\n"
          "-  1  x\n"
          "y  -  -\n"
          "z  -  -\n");
    CHECK(table({{"A"}}, {{"x"}}, false) == "x\n");
}

TEST_CASE("where a name leaves no room for the other columns, they stand below it", "[table]") {
    const std::vector<Column> columns = {{.title = "NAME", .may_be_long = true}, {"B"}, {"C", true}};
    const std::vector<std::vector<std::string>> rows = {{"short", "b", "1"}, {"a-rather-long-name", "bb", "22"}};
    const std::string wide =
        "NAME                B    C\n"
        "short               b    1\n"
        "a-rather-long-name  bb  22\n";
    CHECK(table(columns, rows, true, 26) == wide);
    CHECK(table(columns, rows, true, 25) ==
          "NAME   B    C\n"
          "short  b    1\n"
          "a-rather-long-name\n"
          "       bb  22\n");
    // Narrower than the title.
    CHECK(table(columns, rows, true, 3) ==
          "NAME  B    C\n"
          "short\n"
          "      b    1\n"
          "a-rather-long-name\n"
          "      bb  22\n");
    const std::vector<Column> middle = {{"A"}, {.title = "NAME", .may_be_long = true}, {"B"}};
    CHECK(table(middle, {{"a", "long-name", "b"}, {"a", "n", "b"}}, true, 12) ==
          "A  NAME  B\n"
          "a  long-name\n"
          "         b\n"
          "a  n     b\n");
}
