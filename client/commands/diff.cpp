// SPDX-License-Identifier: Apache-2.0
#include "answer.hpp"
#include "changes-text.hpp"
#include "image-changes.hpp"
#include "job-verb.hpp"
#include "json-output.hpp"
#include "outcome-text.hpp"
#include "stored-image.hpp"
#include "verb.hpp"

namespace imagectl {

namespace {

constexpr VerbOption options[] = {{"files", nullptr, "Also show which files differ"},
                                  {"packages", nullptr, "Also show which packages, kernels and files of /etc differ"}};

// What Changes says of the same images.
Dictionary changes_between(const Connection& connection, const std::string& from, const std::string& to) {
    if (to.empty()) return image_changes(connection, from, "update", adopt(g_variant_new_boolean(TRUE)));
    return image_changes(connection, to, "from", adopt(g_variant_new_string(from.c_str())));
}

ExitCode run(const Arguments& arguments) {
    const auto& words = arguments.positional;
    if (words.empty() || words[0].empty()) throw UsageError("an image is missing");
    if (words.size() > 2) throw UsageError("unexpected argument '" + words[2] + "'");
    if (words.size() == 2 && words[1].empty()) throw UsageError("the second image is empty");
    const Connection connection(arguments.bus);
    const std::string from = stored_name(connection, words[0]);
    const std::string to = words.size() == 2 ? stored_name(connection, words[1]) : "";
    GVariantBuilder values;
    g_variant_builder_init(&values, G_VARIANT_TYPE_VARDICT);
    if (arguments.flag("files")) g_variant_builder_add(&values, "{sv}", "files", g_variant_new_boolean(TRUE));
    Call call;
    call.method = "Diff";
    call.arguments = adopt(g_variant_new("(ssa{sv})", from.c_str(), to.c_str(), &values));
    const Reply reply = connection.call(std::move(call));
    const Dictionary difference(Variant(g_variant_get_child_value(reply.body.get(), 0)));
    std::optional<Dictionary> changes;
    if (arguments.flag("packages")) changes = changes_between(connection, from, to);
    auto text = diff_text(read_answer<imaged::job::FileDifference>(difference));
    if (changes) text += "\n" + changes_text(read_answer<imaged::job::ChangesOutcome>(*changes), true);
    print_result(arguments.json ? diff_json(difference, changes ? &*changes : nullptr) : text);
    return ExitCode::ok;
}

}  // namespace

const Verb diff_verb = {
    {"diff", "IMAGE [IMAGE]", "Compare two images, or one with its update",
     "Shows the layers that only one of the two images has. With one IMAGE, the other is the update that "
     "the last check found. Asks no source.\n"
     "\n"
     "Examples:\n"
     "  imagectl diff docker://registry.example/host:stable\n"
     "  imagectl diff docker://registry.example/host:stable docker://registry.example/host:testing --files\n"
     "  imagectl diff docker://registry.example/host:stable docker://registry.example/host:testing --packages\n"
     "\n",
     VerbHelp::none, options},
    run,
};

}  // namespace imagectl
