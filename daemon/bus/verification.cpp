// SPDX-License-Identifier: Apache-2.0
#include "bus/verification.hpp"

#include "base/error.hpp"
#include "source/skopeo/signature-policy.hpp"

namespace imaged {

bool is_unverified(const job::Request& request, const job::Settings& settings) {
    // An archive carries no signature, whatever the policy for its new name wants.
    if (request.as<job::ImportArchive>() != nullptr) return true;
    const auto& image = *request.image();
    const auto source = image.signature_source();
    if (source == SignatureSource::container_policy || source == SignatureSource::ostree_remote) return false;
    const bool unverified = source == SignatureSource::unverified;
    if (demands_signature(settings.signature_policy, unverified)) return false;
    if (unverified) return true;
    try {
        return applied_policy(load_host_policy(), image).accepts_anything;
    } catch (...) {
        return true;
    }
}

void require_policy_of_name(const job::Request& request, const ImageReference& name) {
    const bool is_archive = request.as<job::ImportArchive>() != nullptr;
    const auto& image = *request.image();
    const auto refuse = [&](const std::string& why) {
        return Error(ErrorKind::not_authorized, "may not store " + (is_archive ? "an archive" : image.image()) +
                                                    " as " + name.image() + ": " + why);
    };
    if (name.transport() != Transport::registry)
        throw refuse("callers who are not root store images under names of registries (docker://)");
    const auto policy = load_host_policy();
    const auto wanted = applied_policy(policy, name);
    if (wanted.accepts_anything) return;
    if (!is_archive && wanted.requirements == applied_policy(policy, image).requirements) return;
    throw refuse("the containers policy demands " + wanted.description + " of images with that name");
}

void require_tag(const ImageReference& image) {
    if (image.transport() != Transport::registry) return;
    const auto& path = image.name();
    if (path.find_first_of(":@", path.rfind('/') + 1) != std::string::npos) return;
    throw Error(ErrorKind::invalid_reference,
                image.image() +
                    " has neither tag nor digest. Callers who are not root store images under names that "
                    "have one: otherwise no image whose name begins with " +
                    image.image() + "/ could be stored");
}

void demand_signature(job::Request& request) {
    std::visit(
        [](auto& work) {
            if constexpr (requires { work.demand_signature; }) {
                work.demand_signature = true;
            } else if constexpr (requires { work.image; }) {
                const auto source = work.image.signature_source();
                if (source == SignatureSource::configured || source == SignatureSource::unverified)
                    work.image = work.image.with(SignatureSource::container_policy);
            }
        },
        request.work);
}

}  // namespace imaged
