// SPDX-License-Identifier: Apache-2.0
#include "store/files/ref-name.hpp"

#include <ostree.h>

#include <cstdint>
#include <random>

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

TEST_CASE("a registry reference becomes the ref that ostree-ext writes", "[ref-name]") {
    CHECK(escape_for_ref("docker://quay.io/a/b:c") == "docker_3A__2F__2F_quay_2E_io/a/b_3A_c");
    CHECK(image_ref(ImageReference::parse("ostree-unverified-registry:quay.io/a/b:c")) ==
          "ostree/container/image/docker_3A__2F__2F_quay_2E_io/a/b_3A_c");
}

TEST_CASE("a digest becomes a layer's ref", "[ref-name]") {
    const auto digest = Digest::parse("sha256:0d82c2f332ce42dd71025991c93b637761191b81fc32c6c942e9dfee1e278fa2");
    CHECK(layer_ref(digest) ==
          "ostree/container/blob/sha256_3A_0d82c2f332ce42dd71025991c93b637761191b81fc32c6c942e9dfee1e278fa2");
}

TEST_CASE("an underscore is doubled, a last slash and a slash after anything but a letter or digit are escaped",
          "[ref-name]") {
    CHECK(escape_for_ref("a_b") == "a__b");
    CHECK(escape_for_ref("a/") == "a_2F_");
    CHECK(escape_for_ref("-/a") == "_2D__2F_a");
    CHECK(escape_for_ref("a/-b") == "a/_2D_b");
    CHECK(escape_for_ref("a-b/c") == "a-b/c");
    CHECK(escape_for_ref("\xc3\xa9") == "_E9_");
    CHECK(escape_for_ref("\t") == "_09_");
}

TEST_CASE("empty text, NUL and what is not UTF-8 have no ref", "[ref-name]") {
    CHECK_THROWS_AS(escape_for_ref(""), Error);
    CHECK_THROWS_AS(escape_for_ref(std::string_view("a\0b", 3)), Error);
    CHECK_THROWS_AS(escape_for_ref("\xff"), Error);
}

TEST_CASE("what escaping never makes is not unescaped", "[ref-name]") {
    for (const char* foreign : {"a_", "a_zz_", "_0_", "_41_", "a.b", "_110000_", "_D800_", "a/", "_2f_"})
        CHECK_FALSE(unescape_ref(foreign));
}

TEST_CASE("unescaping gives back any text, and the ref is valid", "[ref-name]") {
    const auto seed = std::random_device()();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    static constexpr std::string_view frequent = "abZ09-_/:.@+%~ \"\\";
    for (int round = 0; round < 5000; ++round) {
        std::string text;
        const auto length = 1 + random() % 24;
        for (std::size_t i = 0; i < length; ++i) {
            if (random() % 8 != 0) {
                text += frequent[random() % frequent.size()];
                continue;
            }
            std::uint32_t code_point = 0;
            do {
                code_point = random() % 0x110000;
            } while (code_point == 0 || (code_point >= 0xd800 && code_point < 0xe000));
            char bytes[6];
            text.append(bytes, static_cast<std::size_t>(g_unichar_to_utf8(code_point, bytes)));
        }
        const auto escaped = escape_for_ref(text);
        INFO(escaped);
        REQUIRE(unescape_ref(escaped) == text);
        REQUIRE(ostree_validate_rev((std::string(image_ref_prefix) + escaped).c_str(), nullptr) != FALSE);
    }
}

TEST_CASE("an image's ref leads back to its name, and any other ref to itself", "[ref-name]") {
    const auto ref = image_ref(ImageReference::parse("docker://quay.io/a/b:c"));
    CHECK(image_of_ref(ref) == "docker://quay.io/a/b:c");
    CHECK(image_of_ref("ostree/container/image/a_") == "ostree/container/image/a_");
    CHECK(image_of_ref("fedora/stable") == "fedora/stable");
}

TEST_CASE("refs of layers are told from others", "[ref-name]") {
    const auto blob = Digest::parse("sha256:" + std::string(64, 'a'));
    for (const auto& ref : {layer_ref(blob), derived_ref(blob), objects_ref(blob)}) CHECK(is_layer_ref(ref));
    for (const char* ref : {"imaged/objects", "imaged/objectsx/a", "ostree/container/image/a", "imaged/kept/a", ""})
        CHECK(!is_layer_ref(ref));
}
