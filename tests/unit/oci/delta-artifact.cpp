// SPDX-License-Identifier: Apache-2.0
#include "oci/delta-artifact.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

std::string digest_of(char letter) {
    return "sha256:" + std::string(64, letter);
}

std::string entry(const std::string& content, char digest, const std::string& more = {},
                  const std::string& type = "application/vnd.tar-diff") {
    return R"({"mediaType":")" + type + R"(","digest":")" + digest_of(digest) +
           R"(","size":7,"annotations":{"io.github.containers.delta.content":")" + content + "\"" + more + "}}";
}
std::string makes(char target) {
    return R"(,"io.github.containers.delta.to":")" + digest_of(target) + "\"";
}
std::string artifact(const std::string& layers, const std::string& annotations) {
    return R"({"schemaVersion":2,"artifactType":"application/vnd.io.github.containers.oci-delta.v1","annotations":{)" +
           annotations + R"(},"layers":[)" + layers + "]}";
}
const std::string documents = entry("image-manifest", 'a') + "," + entry("image-config", 'b');
const std::string source = R"("io.github.containers.delta.source-config":")" + digest_of('c') + "\"";

ErrorKind refusal(const std::string& text) {
    try {
        DeltaArtifact::parse(text);
    } catch (const Error& error) {
        return error.kind();
    }
    return ErrorKind::cancelled;  // none
}

}  // namespace

TEST_CASE("a delta's manifest says what makes which layer", "[delta-artifact]") {
    const auto text =
        artifact(documents + "," + entry("image-layer", 'd', makes('1')) + "," +
                     entry("image-layer", 'e', makes('2'), "application/vnd.oci.image.layer.v1.tar+gzip") + "," +
                     entry("something else", 'f'),
                 source);
    CHECK(DeltaArtifact::is_one(text));
    const auto found = DeltaArtifact::parse(text);
    CHECK(found.source_config.text() == digest_of('c'));
    CHECK(found.manifest.digest.text() == digest_of('a'));
    CHECK(found.config.digest.text() == digest_of('b'));
    REQUIRE(found.made.size() == 2);
    CHECK(found.made.at(Digest::parse(digest_of('1'))).tar_diff);
    CHECK(!found.made.at(Digest::parse(digest_of('2'))).tar_diff);
}

TEST_CASE("a delta's manifest that cannot be right is refused", "[delta-artifact]") {
    const auto made = "," + entry("image-layer", 'd', makes('1'));
    CHECK(refusal(artifact(documents + made, "")) == ErrorKind::corrupt_input);
    CHECK(refusal(artifact(entry("image-manifest", 'a') + made, source)) == ErrorKind::corrupt_input);
    CHECK(refusal(artifact(entry("image-config", 'a') + made, source)) == ErrorKind::corrupt_input);
    CHECK(refusal(artifact(documents + "," + documents, source)) == ErrorKind::corrupt_input);
    CHECK(refusal(artifact(documents + made + made, source)) == ErrorKind::corrupt_input);
    CHECK(refusal(artifact(documents + "," + entry("image-layer", 'd'), source)) == ErrorKind::corrupt_input);
    CHECK(refusal(artifact(documents + ",7", source)) == ErrorKind::corrupt_input);
    CHECK(refusal(artifact(documents + "," + entry("image-layer", 'd', makes('1'), "text/plain"), source)) ==
          ErrorKind::unsupported_image);
    CHECK(refusal("{}") == ErrorKind::corrupt_input);
    CHECK(!DeltaArtifact::is_one("{}"));
    CHECK(!DeltaArtifact::is_one("no JSON"));
}

TEST_CASE("a delta is of the image that it names", "[delta-artifact]") {
    const auto found = DeltaArtifact::parse(artifact(documents + "," + entry("image-layer", 'd', makes('1')), source));
    Manifest target{false, {"", Digest::parse(digest_of('b'))}, {{"", Digest::parse(digest_of('1'))}}, {}};
    found.require_target(target);
    target.config.digest = Digest::parse(digest_of('9'));
    CHECK_THROWS_AS(found.require_target(target), Error);
    target.config.digest = Digest::parse(digest_of('b'));
    target.layers.front().digest = Digest::parse(digest_of('9'));
    CHECK_THROWS_AS(found.require_target(target), Error);
}

TEST_CASE("an index lists deltas among other things", "[delta-artifact]") {
    const auto listed = [](const std::string& type, char digest, const std::string& more = {}) {
        return R"({"artifactType":")" + type + R"(","digest":")" + digest_of(digest) + R"(","size":3)" + more + "}";
    };
    const std::string type(delta::artifact_type);
    const auto listing = listed_deltas(R"({"manifests":[)" + listed("a/signature", '1') + "," + listed(type, '2') +
                                       "," + listed(type, '3', R"(,"annotations":{)" + source + "}") + "," +
                                       listed(type, '4', R"(,"size":"large")") + ",7]}");
    const auto& found = listing.deltas;
    REQUIRE(found.size() == 2);
    CHECK(listing.problem);
    CHECK(!found[0].source_config);
    CHECK(found[1].source_config == Digest::parse(digest_of('c')));
    CHECK_FALSE(listed_deltas(R"({"manifests":[]})").problem);
    CHECK_THROWS_AS(listed_deltas("no JSON"), Error);
    CHECK_THROWS_AS(listed_deltas("{}"), Error);
    CHECK(delta::referrers_tag(Digest::parse(digest_of('a'))) == "sha256-" + std::string(64, 'a'));
}
