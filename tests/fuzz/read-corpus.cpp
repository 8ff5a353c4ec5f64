// SPDX-License-Identifier: Apache-2.0
// Gives each file of a corpus, and beginnings of it, to a fuzzer's function: what a fuzzer found once is tried by every
// build. Ends like the fuzzer does where something does not hold.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

// Beginnings of each file that are tried beside the whole.
constexpr std::size_t beginnings = 16;

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::size_t tried = 0;
    for (const auto& path : files) {
        // Told before it is tried: the last line of a crash names the file.
        std::printf("%s\n", path.filename().c_str());
        std::fflush(stdout);
        const auto whole = read_file(path);
        for (std::size_t part = 0; part <= beginnings; ++part) {
            // A copy of just that size, so that reading behind it is found.
            const std::vector<std::uint8_t> input(
                whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(whole.size() * part / beginnings));
            LLVMFuzzerTestOneInput(input.data(), input.size());
            ++tried;
        }
    }
    std::printf("%zu inputs from %zu files\n", tried, files.size());
    return files.empty() ? 1 : 0;
}
