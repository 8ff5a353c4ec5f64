// SPDX-License-Identifier: Apache-2.0
#include "image-changes.hpp"

#include <utility>
#include <vector>

#include "bus/exit-code.hpp"
#include "job-run.hpp"
#include "job/kinds.hpp"

namespace imagectl {

namespace {

namespace key = imaged::job::key;

Variant dictionary_of(const char* key, const Variant& value) {
    GVariantBuilder builder;
    g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&builder, "{sv}", key, value.get());
    return adopt(g_variant_builder_end(&builder));
}

Dictionary changes_of_update(const Connection& connection, const std::string& image) {
    try {
        return image_changes(connection, image, "update", adopt(g_variant_new_boolean(TRUE)));
    } catch (const BusError& error) {
        if (exit_code(error.name()) == ExitCode::no_daemon) throw;
        return Dictionary(dictionary_of("unknown", adopt(g_variant_new_string(error.what()))));
    }
}

}  // namespace

Dictionary image_changes(const Connection& connection, const std::string& image, const char* option, Variant value) {
    Call call;
    call.method = "Changes";
    call.arguments = adopt(g_variant_new("(s@a{sv})", image.c_str(), dictionary_of(option, value).get()));
    const auto result = run_new_job(connection, std::move(call), {});
    if (result.interrupted || result.ended.empty()) throw BusError("org.imaged1.Error.Cancelled", "interrupted");
    const auto& [status, outcome, known, ended] = result.ended.front();
    if (status.result != "success") throw BusError(status.error_name, status.error_message);
    return outcome;
}

std::map<std::string, Dictionary> update_changes(const Connection& connection, const FollowedJob& job) {
    std::map<std::string, Dictionary> changes;
    std::vector<Dictionary> updated = job.outcome.list(key::updates);
    if (job.outcome.flag(key::update_available) == true) updated.push_back(job.outcome);
    for (const auto& update : updated) {
        const auto image = update.text(key::image);
        if (!image) continue;
        auto brought = update.dictionary(key::changes);
        changes.emplace(*image, brought.empty() ? changes_of_update(connection, *image) : std::move(brought));
    }
    return changes;
}

}  // namespace imagectl
