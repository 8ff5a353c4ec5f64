// SPDX-License-Identifier: Apache-2.0
#include "job/settings.hpp"

#include "base/error.hpp"
#include "catch.hpp"
#include "job/json-fields.hpp"

using imaged::job::Settings;

TEST_CASE("settings survive the way to the worker") {
    Settings settings;
    settings.signature_policy = imaged::job::SignaturePolicy::signature;
    settings.layers_at_once = 5;
    settings.stall_time = std::chrono::milliseconds(1500);
    settings.retries = 9;
    settings.disk_reserve = 1ULL << 40;
    settings.layer_bytes = 1;
    settings.image_bytes = 2;
    settings.expansion_ratio = 3;
    settings.confined = true;
    settings.skopeo_service = "/run/imaged/proxy";
    CHECK(imaged::job::from_json<Settings>(imaged::job::to_json(settings)) == settings);
}

TEST_CASE("settings that are not said are at their defaults, and unknown ones are refused") {
    CHECK(imaged::job::from_json<Settings>(nlohmann::json::object()) == Settings());
    CHECK_THROWS_AS(imaged::job::from_json<Settings>({{"colour", 1}}), imaged::Error);
    CHECK_THROWS_AS(imaged::job::from_json<Settings>({{"retries", "many"}}), imaged::Error);
    CHECK_THROWS_AS(imaged::job::from_json<Settings>({{"signature-policy", "none"}}), imaged::Error);
}
