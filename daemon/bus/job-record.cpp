// SPDX-License-Identifier: Apache-2.0
#include "bus/job-record.hpp"

namespace imaged {

namespace {

// Where the job puts what it makes: another name, a repository, a registry; empty if it is where it is anyway.
std::string target_of(const job::Request& request) {
    if (const auto* const target = request.target(); target != nullptr && *target) return (*target)->image();
    if (const auto* const copy = request.as<job::Copy>()) return copy->repository;
    const auto* const exported = request.as<job::Export>();
    return exported != nullptr ? exported->destination.image() : std::string();
}

bool is_dry_run(const job::Request& request) {
    const auto* const prune = request.as<job::Prune>();
    return prune != nullptr && prune->dry_run;
}

}  // namespace

JobRecord record_of(const job::Request& request) {
    const auto target = target_of(request);
    const bool dry_run = is_dry_run(request);
    JobRecord record{std::string(request.traits().name),
                     {{"IMAGED_KIND", std::string(request.traits().name)},
                      {"IMAGED_TARGET", target},
                      {"IMAGED_DRY_RUN", dry_run ? "1" : ""}}};
    const auto add = [&](const std::string& image) {
        record.text += " " + image;
        record.fields.emplace("IMAGED_IMAGE", image);
    };
    if (dry_run) record.text += " (dry run: nothing is removed)";
    if (const auto image = request.image_name()) add(*image);
    if (const auto* const images = request.images())
        for (const auto& image : *images) add(image.image());
    const auto* const copy = request.as<job::Copy>();
    if (!target.empty()) record.text += (copy != nullptr && copy->from ? " from " : " to ") + target;
    return record;
}

}  // namespace imaged
