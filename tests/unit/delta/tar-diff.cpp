// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <zstd.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "delta/tar-diff-reader.hpp"
#include "layer/text-source.hpp"

using namespace imaged;

namespace {

using Files = std::map<std::string, std::string>;

std::string varint(std::uint64_t number) {
    std::string out;
    for (; number >= 0x80; number >>= 7) out += static_cast<char>((number & 0x7f) | 0x80);
    return out + static_cast<char>(number);
}

std::string operation(delta::Operation kind, std::uint64_t size, const std::string& data = {}) {
    return static_cast<char>(kind) + varint(size) + data;
}
std::string data(const std::string& bytes) {
    return operation(delta::Operation::data, bytes.size(), bytes);
}
std::string open(const std::string& name) {
    return operation(delta::Operation::open, name.size(), name);
}
std::string copy(std::uint64_t size) {
    return operation(delta::Operation::copy, size);
}
std::string seek(std::uint64_t place) {
    return operation(delta::Operation::seek, place);
}
std::string prefixed(const std::string& frame) {
    return operation(delta::Operation::prefixed, frame.size(), frame);
}

std::string frame(const std::string& content, const std::string& prefix = {}, int window_log = 0,
                  bool with_size = true) {
    auto* const context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, with_size ? 1 : 0);
    if (window_log != 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    if (!prefix.empty()) ZSTD_CCtx_refPrefix(context, prefix.data(), prefix.size());
    std::string out(ZSTD_compressBound(content.size()), '\0');
    const auto count = ZSTD_compress2(context, out.data(), out.size(), content.data(), content.size());
    ZSTD_freeCCtx(context);
    REQUIRE(ZSTD_isError(count) == 0);
    out.resize(count);
    return out;
}

std::string packed(const std::string& operations, std::string_view magic = delta::version_2_magic) {
    return std::string(magic) + frame(operations);
}

// A text that does not repeat itself.
std::string noise(std::size_t size, unsigned seed = 1) {
    std::string out;
    for (auto state = seed; out.size() < size; out += static_cast<char>(state >> 16))
        state = state * 1103515245 + 12345;
    return out;
}

std::string applied(const std::string& diff, const Files& files = {}, std::size_t step = 1000) {
    TextSource source(diff);
    TarDiffReader reader(source, [&](const std::string& name) {
        const auto found = files.find(name);
        if (found == files.end()) throw Error(ErrorKind::corrupt_input, "no file " + name);
        FileDescriptor file(::memfd_create("file", MFD_CLOEXEC));
        write_all(file.get(), std::as_bytes(std::span(found->second)), "a file");
        return file;
    });
    std::string text;
    std::vector<std::byte> buffer(step);
    for (;;) {
        const auto count = reader.read(buffer);
        text.append(reinterpret_cast<const char*>(buffer.data()), count);
        if (count < buffer.size()) return text;
    }
}

std::pair<ErrorKind, std::string> refusal(const std::string& diff, const Files& files = {}) {
    try {
        applied(diff, files);
    } catch (const Error& error) {
        return {error.kind(), error.what()};
    }
    return {ErrorKind::cancelled, "it was not refused"};
}

void refused(const std::string& operations, const std::string& why, ErrorKind kind = ErrorKind::corrupt_input,
             std::string_view magic = delta::version_2_magic) {
    const auto [found, text] = refusal(packed(operations, magic), {{"f", "0123456789"}});
    INFO(text);
    CHECK(found == kind);
    CHECK(text.find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("a tar-diff produces what its operations say", "[tar-diff]") {
    const Files files{{"f", "0123456789"}, {"dir/g", "abcdef"}, {"empty", ""}};
    CHECK(applied(packed("")).empty());
    CHECK(applied(packed(data("head") + data("") + open("f") + copy(3) + seek(8) + copy(2) + open("dir/g") + copy(6)),
                  files) == "head01289abcdef");
    CHECK(applied(packed(open("f") + operation(delta::Operation::add_data, 3, std::string("\1\0\xff", 3)) + copy(1),
                         delta::version_1_magic),
                  files) == "1113");
    CHECK(applied(packed(open("empty") + copy(0) + seek(0) + open("f") + seek(10) + copy(0) + data("x")), files) ==
          "x");
    // In pieces of every size.
    const auto operations = data(noise(300)) + open("f") + copy(10) + data(noise(70'000, 2));
    for (const std::size_t step : {1, 7, 300, 309, 310, 311, 100'000})
        CHECK(applied(packed(operations), files, step) == noise(300) + "0123456789" + noise(70'000, 2));
}

TEST_CASE("sums are of bytes, modulo 256, over any length", "[tar-diff]") {
    const auto before = noise(300'000), after = noise(300'000, 7);
    std::string sums;
    for (std::size_t i = 0; i < before.size(); ++i) sums += static_cast<char>(after[i] - before[i]);
    CHECK(applied(packed(open("f") + operation(delta::Operation::add_data, sums.size(), sums)), {{"f", before}},
                  65'537) == after);
}

TEST_CASE("a frame may have a file for its prefix", "[tar-diff]") {
    const auto before = noise(200'000);
    auto after = before;
    after.replace(50'000, 10, "something else");
    const auto made = frame(after, before, 18);
    REQUIRE(made.size() < 2000);
    const Files files{{"f", before}};
    CHECK(applied(packed(data("<") + open("f") + prefixed(made) + data(">")), files) == "<" + after + ">");
    // Wherever the file's position is, several times, and whatever follows the frame in its operation.
    CHECK(applied(packed(open("f") + copy(5) + prefixed(made + "rest") + prefixed(made)), files, 777) ==
          before.substr(0, 5) + after + after);
    CHECK(applied(packed(open("f") + prefixed(frame(after, before, 18, false))), files) == after);
    CHECK(applied(packed(open("f") + prefixed(frame("", before))), files).empty());
}

TEST_CASE("an operation that cannot be right is refused", "[tar-diff]") {
    refused(copy(1), "before it opens");
    refused(seek(0), "before it opens");
    refused(open("f") + copy(11), "behind the end");
    refused(open("f") + seek(4) + copy(7), "behind the end");
    refused(open("f") + seek(11), "behind the end");
    refused(open("f") + copy(UINT64_MAX), "behind the end");
    refused(open("f") + operation(delta::Operation::add_data, 11, std::string(11, '\0')), "behind the end");
    refused(open("f") + operation(delta::Operation::add_data, delta::max_added_bytes + 1), "limit",
            ErrorKind::unsupported_image);
    refused(open("g"), "no file g");
    refused(operation(delta::Operation::open, delta::max_name_bytes + 1, std::string(5000, 'f')), "limit",
            ErrorKind::unsupported_image);
    refused(operation(delta::Operation::open, 5, "f"), "cut off");
    refused(operation(delta::Operation::data, 5, "data"), "cut off");
    refused("\1", "cut off");
    refused(std::string("\0\xff\xff", 3), "cut off");
    refused(std::string("\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", 11), "too large");
    refused(std::string("\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0", 12), "too large");
    refused("\6\1x", "unknown operation");
    // What was opened is not any more when the next file cannot be.
    refused(open("f") + open("g") + copy(1), "no file g");
}

TEST_CASE("a prefix, its window and its frame are held to their limits", "[tar-diff]") {
    const auto before = noise(1000);
    const auto made = frame(before, before);
    refused(open("f") + prefixed(made), "version", ErrorKind::corrupt_input, delta::version_1_magic);
    refused(prefixed(made), "before it opens");
    refused(open("f") + prefixed(""), "cut off");
    refused(open("f") + prefixed("no frame at all"), "no zstd frame");
    refused(open("f") + prefixed(made.substr(0, made.size() - 2)), "cut off");
    refused(open("f") + prefixed(frame(noise(1000, 3), noise(1000, 5) + noise(1000, 3), 20)), "corrupt");
    // A window that is larger than the output serves; one of which more is used does not.
    CHECK(applied(packed(open("f") + prefixed(frame(before, before, 29, false))), {{"f", before}}) == before);
    const std::string large(delta::max_applied_window_bytes + 1, 'x');
    CHECK(refusal(packed(open("f") + prefixed(frame(large, before, 29, false))), {{"f", before}}).first ==
          ErrorKind::unsupported_image);
    CHECK(refusal(packed(open("f") + prefixed(frame(large, before, 29))), {{"f", before}}).first ==
          ErrorKind::unsupported_image);
    CHECK(applied(packed(open("f") + prefixed(frame(large, before, 20, false))), {{"f", before}}, 100'000) == large);
    CHECK(refusal(packed(open("f") + prefixed(made)), {{"f", std::string(delta::max_applied_prefix_bytes + 1, 'x')}})
              .first == ErrorKind::unsupported_image);
}

TEST_CASE("what is no tar-diff is refused", "[tar-diff]") {
    CHECK(refusal("").first == ErrorKind::corrupt_input);
    CHECK(refusal("tardf1").first == ErrorKind::corrupt_input);
    CHECK(refusal(packed("", std::string_view("tardf3\n\0", 8))).first == ErrorKind::corrupt_input);
    CHECK(refusal(std::string(delta::version_2_magic) + data("plain")).first == ErrorKind::corrupt_input);
    CHECK(refusal(std::string(delta::version_2_magic)).first == ErrorKind::corrupt_input);
    const auto whole = packed(data(noise(5000)));
    CHECK(refusal(whole.substr(0, whole.size() - 100)).first == ErrorKind::corrupt_input);
}

TEST_CASE("operations that make no progress come to an end", "[tar-diff]") {
    std::string many;
    for (unsigned i = 0; i < 1'000'000; ++i) many += std::string("\4\0", 2);
    std::string frames;
    const auto one = frame(many);
    for (unsigned i = 0; i <= max_idle_operations / 1'000'000; ++i) frames += one;
    const auto diff = std::string(delta::version_1_magic) + frame(open("f")) + frames;
    CHECK(refusal(diff, {{"f", "0"}}).first == ErrorKind::unsupported_image);
}
