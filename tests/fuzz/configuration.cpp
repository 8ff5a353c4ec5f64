// SPDX-License-Identifier: Apache-2.0
// A configuration file, and behind the first NUL a drop-in of it; what is accepted is printed as a file that says the
// same.
#include "input.hpp"
#include "process/config.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string input(fuzz::text(data, size));
    const auto end = std::min(input.find('\0'), size);
    fuzz::accepted([&] {
        const auto read =
            parse_config({{"imaged.conf", input.substr(0, end)}, {"x.conf", input.substr(std::min(end + 1, size))}});
        const auto printed = to_text(read.config);
        const auto again = parse_config({{"printed", printed}});
        fuzz::require(again.warnings.empty(), "what is printed is known");
        fuzz::require(to_text(again.config) == printed, "what is printed says the same");
    });
    return 0;
}
