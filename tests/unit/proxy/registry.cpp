// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "registry/auth-document.hpp"
#include "registry/byte-ranges.hpp"
#include "registry/challenge.hpp"
#include "registry/host-settings.hpp"
#include "registry/not-understood.hpp"
#include "registry/registries-conf.hpp"

using namespace imaged;

namespace {

// "REPOSITORY", with "!" behind an insecure one, in order, a space between.
std::string places(const std::vector<std::string>& texts, const std::string& image) {
    std::string found;
    for (const auto& endpoint : read_registries_conf(texts, image).endpoints)
        found += (found.empty() ? "" : " ") + endpoint.repository + (endpoint.insecure ? "!" : "");
    return found;
}

bool understood(const std::string& text, const std::string& image = "registry.example/team/app:1") {
    try {
        read_registries_conf({text}, image);
        return true;
    } catch (const NotUnderstood&) {
        return false;
    }
}

bool has_login(const std::string& text, const std::string& repository, const std::string& login) {
    return AuthDocument(text).login(repository) == login;
}

}  // namespace

TEST_CASE("without a word about it, a registry is asked itself") {
    CHECK(places({}, "registry.example:5000/team/app:1") == "registry.example:5000/team/app");
    CHECK(places({"unqualified-search-registries = [\"docker.io\"]\n[aliases]\n\"a\" = \"b/c\""},
                 "docker.io/library/app@sha256:" + std::string(64, '0')) == "docker.io/library/app");
}

TEST_CASE("the longest prefix decides, and what follows it stays") {
    const std::string text = R"([[registry]]
prefix = "registry.example"
location = "one.example/x"
[[registry]]
prefix = "registry.example/team"
location = "two.example"
insecure = true
[[registry]]
prefix = "registry.example/tea"
location = "three.example"
)";
    CHECK(places({text}, "registry.example/other/app:1") == "one.example/x/other/app");
    CHECK(places({text}, "registry.example/team/app:1") == "two.example/app!");
    CHECK(places({text}, "other.example/team/app:1") == "other.example/team/app");
}

TEST_CASE("mirrors come first, those for the kind of name that it is") {
    const std::string text = R"([[registry]]
location = "registry.example"
[[registry.mirror]]
location = "all.example"
insecure = true
[[registry.mirror]]
location = "digests.example/cache"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.example"
pull-from-mirror = "tag-only"
)";
    CHECK(places({text}, "registry.example/app:1") == "all.example/app! tags.example/app registry.example/app");
    CHECK(places({text}, "registry.example/app@sha256:0") ==
          "all.example/app! digests.example/cache/app registry.example/app");
    CHECK(places({"[[registry]]\nlocation = \"a.example\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation "
                  "= \"m.example\""},
                 "a.example/app:1") == "a.example/app");
}

TEST_CASE("a mirror or location that is blocked itself is not asked") {
    const std::string text = R"([[registry]]
location = "registry.example"
[[registry.mirror]]
location = "blocked.example/cache"
[[registry.mirror]]
location = "open.example"
[[registry]]
location = "blocked.example"
blocked = true
[[registry]]
prefix = "moved.example"
location = "blocked.example/moved"
)";
    CHECK(places({text}, "registry.example/app:1") == "open.example/app registry.example/app");
    CHECK_FALSE(understood(text, "moved.example/app:1"));
    CHECK_FALSE(understood(text, "blocked.example/app:1"));
}

TEST_CASE("a later file replaces what an earlier one says of a prefix") {
    CHECK(places({"[[registry]]\nlocation = \"a.example\"\ninsecure = true",
                  "[[registry]]\nprefix = \"a.example\"\nlocation = \"b.example\""},
                 "a.example/app:1") == "b.example/app");
    CHECK(read_registries_conf({"credential-helpers = [\"x\"]", "credential-helpers = [\"containers-auth.json\"]"},
                               "a.example/app:1")
              .credential_helpers == false);
    CHECK(read_registries_conf({"credential-helpers = [\"containers-auth.json\", \"x\"]", ""}, "a.example/app:1")
              .credential_helpers);
}

TEST_CASE("what is not understood of registries.conf is left to skopeo") {
    const std::string table = "[[registry]]\nlocation = \"registry.example\"\n";
    CHECK(understood(table));
    for (const auto& text :
         {std::string("[registries.search]\nregistries = [\"a\"]"), std::string("nonsense"), table + "blocked = true",
          table + "unknown = 1", table + "insecure = \"yes\"", table + "[[registry.mirror]]\nlocation = \"\"",
          table + "[[registry.mirror]]\nlocation = \"m.example\"\npull-from-mirror = \"sometimes\"", table + table,
          std::string("[[registry]]\nprefix = \"*.example\"\nlocation = \"a.example\""),
          std::string("[[registry]]\nprefix = \"registry.example\"\nlocation = \"http://a.example\""),
          std::string("[[registry]]\nprefix = \"registry.example\"\nlocation = \"a.example/../b\""),
          std::string("[[registry]]\nprefix = \"registry.example\"\nlocation = \"user@a.example\""),
          std::string("[[registry]]\nprefix = \"registry.example\"\nlocation = \"a.example/b?c\"")})
        CHECK_FALSE(understood(text));
    // skopeo looks for what follows the star anywhere in the name.
    for (const char* prefix : {"*.example:5000", "*.example:5000/team", "*.example"})
        CHECK_FALSE(understood("[[registry]]\nlocation = \"a.example\"\nprefix = \"" + std::string(prefix) + "\"",
                               "registry.example:5000/team/app:1"));
    CHECK_FALSE(understood("[[registry]]\nprefix = \"registry.example/\"\nlocation = \"a.example\""));
    CHECK_FALSE(understood("[[registry]]\nlocation = \"registry.example/\"\n[[registry.mirror]]\nlocation = \"m\""));
    // A key that skopeo may know may be about this registry.
    CHECK_FALSE(understood("[[registry]]\nlocation = \"other\"\nPrefix = \"registry.example\""));
    // A host does not stand for all of its ports.
    CHECK_FALSE(understood(table, "registry.example:5000/app:1"));
    CHECK(understood("[[registry]]\nprefix = \"*.other\"\nlocation = \"a.example\""));
}

TEST_CASE("logins of a namespace are for what is in it, those of a host for all of it") {
    const std::string text =
        R"({"auths":{"registry.example/team":{"auth":"dGVhbTp4"},"registry.example":{"auth":"aG9zdDp5"},
        "https://index.docker.io/v1/":{"auth":"aHViOno="},"none.example":{}}})";
    CHECK(has_login(text, "registry.example/team/app", "team:x"));
    CHECK(has_login(text, "registry.example/teams/app", "host:y"));
    CHECK(has_login(text, "docker.io/library/app", "hub:z"));
    CHECK_FALSE(AuthDocument(text).login("none.example/app"));
    CHECK_FALSE(AuthDocument(text).login("registry.example:5000/app"));
    CHECK_FALSE(AuthDocument(R"({"auths":{"a.example/team":{"auth":"dGVhbTp4"}}})").login("a.example/app"));
    CHECK_FALSE(AuthDocument("{}").login("a.example/app"));
}

TEST_CASE("credentials of another kind are left to skopeo") {
    for (const char* text : {"", "[]", R"({"credHelpers":{"a.example":"x"}})", R"({"credsStore":"x"})",
                             R"({"auths":[]})", R"({"auths":{"a.example":1}})"})
        CHECK_THROWS_AS(AuthDocument(text), NotUnderstood);
    for (const char* text :
         {R"({"auths":{"a.example":{"identitytoken":"x"}}})",
          R"({"auths":{"a.example":{"auth":"dGVhbTp4","identitytoken":"x"}}})",
          R"({"auths":{"a.example":{"auth":"!!"}}})", R"({"auths":{"a.example":{"auth":"eA=="}}})"}) {
        const AuthDocument document(text);
        CHECK_THROWS_AS(document.login("a.example/app"), NotUnderstood);
        CHECK_FALSE(document.login("b.example/app"));
    }
}

TEST_CASE("challenges are read as registries write them") {
    const auto found = parse_challenges(
        R"(Bearer realm="https://auth.example/token?a=b,c",service="reg \"x\"" , scope=pull, Basic realm="r")");
    REQUIRE(found.size() == 2);
    CHECK(found[0].scheme == "bearer");
    CHECK(found[0].parameters.at("realm") == "https://auth.example/token?a=b,c");
    CHECK(found[0].parameters.at("service") == "reg \"x\"");
    CHECK(found[0].parameters.at("scope") == "pull");
    CHECK(found[1].scheme == "basic");
    CHECK(parse_challenges("Negotiate, BASIC realm=x").size() == 2);
    CHECK(parse_challenges("").empty());
    CHECK(parse_challenges("Bearer realm=\"open").at(0).parameters.empty());
}

TEST_CASE("a range is read digit for digit") {
    const auto range = parse_content_range("bytes 5-9/10");
    REQUIRE(range);
    CHECK((range->first == 5 && range->last == 9 && range->size == 10U));
    CHECK(parse_content_range("bytes 0-0/*"));
    for (const char* text : {"", "bytes", "bytes */10", "bytes 9-5/10", "bytes -5-9/10", "bytes 5-9", "items 5-9/10",
                             "bytes 5-9/x", "bytes 5-9/10 ", "bytes 18446744073709551616-2/3"})
        CHECK_FALSE(parse_content_range(text));
}

std::string several_ranges(const std::string& body, const std::string& type = "multipart/byteranges; boundary=x",
                           std::size_t step = 100) {
    std::string taken;
    ByteRanges reader(type, {{5, 3}, {100, 2}}, 200, [&](std::span<const std::byte> bytes) {
        taken.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    const auto bytes = std::as_bytes(std::span(body));
    for (std::size_t at = 0; at < bytes.size(); at += step)
        reader.read(bytes.subspan(at, std::min(step, bytes.size() - at)));
    return taken;
}

TEST_CASE("an answer with several ranges has those that were asked for and nothing else") {
    const std::string first = "--x\r\nContent-Range: bytes 5-7/200\r\n\r\n",
                      second = "--x\r\ncontent-range:bytes 100-101/*\r\n\r\n";
    const auto right = first + "abc\r\n" + second + "de\r\n--x--\r\n";
    for (const std::size_t step : {1U, 2U, 7U, 1000U})
        CHECK(several_ranges(right, "multipart/byteranges; boundary=x", step) == "abcde");
    CHECK(several_ranges("\r\n" + right) == "abcde");
    CHECK(several_ranges(right, "Multipart/ByteRanges;charset=x; Boundary=\"x\"") == "abcde");
    CHECK(several_ranges("--x\r\nContent-Type: a/b\r\nContent-Range: bytes 5-7/200\r\n\r\n--x") == "--x");
    // It may be cut anywhere.
    CHECK(several_ranges(right.substr(0, first.size() + 2)) == "ab");
    const std::vector<std::string> wrong{
        second + "de\r\n" + first + "abc\r\n--x--",
        first + "abc\r\n" + first + "abc\r\n--x--",
        first + "abc\r\n--x--\r\n",
        first + "abcd\r\n" + second + "de",
        first + "abc" + second + "de",
        "--y\r\n" + right,
        "x\r\n" + right,
        "--x\r\n\r\nabc" + right,
        "--x\r\nContent-Range: bytes 5-7/201\r\n\r\nabc",
        "--x\r\nContent-Range: bytes 5-7/200\r\nContent-Range: bytes 5-7/200\r\n\r\nabc",
        "--x\r\nContent-Range: bytes 5-8/200\r\n\r\nabc",
        "--x\r\nnonsense\r\n\r\nabc",
        "--x\r\nX: " + std::string(3000, 'x') + "\r\n",
        right + std::string(3000, 'x'),
        std::string(3000, '-')};
    for (const auto& body : wrong) CHECK_THROWS_AS(several_ranges(body), NotSeveralRanges);
    for (const std::string type :
         {"multipart/byteranges", "multipart/byteranges; boundary=", "multipart/byteranges; boundary=\"x",
          "multipart/byteranges; xboundary=x", "multipart/byteranges; boundary=\"\""})
        CHECK_THROWS_AS(several_ranges(right, type), NotSeveralRanges);
    CHECK_THROWS_AS(several_ranges(right, "multipart/byteranges; boundary=" + std::string(71, 'x')), NotSeveralRanges);
    CHECK(has_several_ranges("multipart/byteranges; boundary=x"));
    CHECK_FALSE(has_several_ranges("application/octet-stream"));
}

TEST_CASE("a registry that wants a pause says seconds or a date") {
    using std::chrono::seconds;
    const std::time_t now = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
    CHECK(parse_retry_after("7", now) == seconds(7));
    CHECK(parse_retry_after("18446744073709551615", now) == seconds(86400));
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:57 GMT", now) == seconds(20));
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:17 GMT", now) == seconds(0));
    CHECK(parse_retry_after("Fri, 06 Nov 2099 08:49:37 GMT", now) == seconds(86400));
    for (const char* text : {"", "soon", "-1 parrot", "99999999999999999999"})
        CHECK_FALSE(parse_retry_after(text, now));
}

TEST_CASE("proxies are for other hosts, but for those that NO_PROXY names") {
    const ProxyEnvironment environment{"http://plain.lan:1", "http://tls.lan:2",
                                       "registry.lan, .inner.lan,10.0.0.0/8,*.deep.lan,192.0.2.1"};
    const auto proxy = [&](const char* url) { return environment.proxy_for(*origin_of(url)); };
    CHECK(proxy("https://registry.example/") == "http://tls.lan:2");
    CHECK(proxy("http://registry.example/") == "http://plain.lan:1");
    for (const char* url : {"https://registry.lan/", "https://a.registry.lan:5000/", "https://x.inner.lan/",
                            "https://10.1.2.3/", "https://x.deep.lan/", "http://192.0.2.1/", "https://Registry.LAN/",
                            "https://localhost/", "http://127.0.0.1:5000/", "http://[::1]/"})
        CHECK_FALSE(proxy(url));
    for (const char* url : {"https://inner.lan/", "https://11.1.2.3/", "https://myregistry.lan/"}) CHECK(proxy(url));
    CHECK_THROWS_AS((ProxyEnvironment{"", "socks5://x", ""}.proxy_for(*origin_of("https://a.example/"))),
                    NotUnderstood);
    CHECK_THROWS_AS((ProxyEnvironment{"", "http://x", "a:5000"}.proxy_for(*origin_of("https://a.example/"))),
                    NotUnderstood);
}

TEST_CASE("only web servers without a user in their name have an origin") {
    CHECK(origin_of("https://a.example/x")->port == "443");
    CHECK(origin_of("HTTP://A.example:5000/x")->port == "5000");
    for (const char* url :
         {"", "file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "http://user@a.example/",
          "https://user:secret@a.example/", "//a.example/x", "javascript:x"})
        CHECK_FALSE(origin_of(url));
}
