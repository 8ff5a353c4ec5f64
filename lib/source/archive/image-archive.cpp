// SPDX-License-Identifier: Apache-2.0
#include "source/archive/image-archive.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/checksum.hpp"
#include "base/content-hash.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/compression.hpp"
#include "oci/image-index.hpp"
#include "oci/json-document.hpp"
#include "source/archive/file-blob.hpp"
#include "source/skopeo/signature-policy.hpp"
#include "source/skopeo/skopeo-error.hpp"

namespace imaged {

namespace {

using nlohmann::json;

constexpr std::size_t max_index_bytes = 4 * 1024 * 1024;
constexpr const char* index_file = "index.json";
constexpr const char* manifest_type = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* index_type = "application/vnd.oci.image.index.v1+json";
constexpr const char* tag_key = "org.opencontainers.image.ref.name";
constexpr const char* name_key = "io.containerd.image.name";

[[noreturn]] void corrupt(const std::string& what) {
    throw Error(ErrorKind::corrupt_input, "archive: " + what);
}

// What decides that the image may be used. There is no signature in an archive.
std::string check_policy(const std::string& transport, const ImageReference& reference) {
    if (reference.signature_source() == SignatureSource::container_policy ||
        reference.signature_source() == SignatureSource::ostree_remote)
        throw Error(ErrorKind::policy_rejected,
                    reference.image() +
                        " needs a signature (the prefix of its name, or SignaturePolicy= of "
                        "imaged.conf, asks for one), and an archive carries none");
    // As skopeo would ask for an archive at a path that no scope of the policy names.
    const auto policy = applied_policy(load_host_policy(), ImageReference::parse(transport + ":/"));
    if (!policy.accepts_anything)
        throw Error(ErrorKind::policy_rejected, "the containers policy that applies to " + transport + ": is " +
                                                    policy.description + ", and an archive carries no signature");
    return policy.description;
}

bool has_name(const json& entry, const std::string& name) {
    if (!entry.is_object()) return false;
    const auto annotations = optional_text_map(entry, "annotations");
    for (const char* key : {tag_key, name_key}) {
        if (const auto found = annotations.find(key); found != annotations.end() && found->second == name) return true;
    }
    return false;
}

// The entry of index.json that is meant: by NAME, as the only image, or as the one for this host.
Descriptor choose(const json& index, const std::optional<std::string>& name) {
    const auto found = index.find("manifests");
    if (found == index.end() || !found->is_array() || found->empty()) corrupt("its index has no manifests");
    if (name) {
        for (const auto& entry : *found) {
            if (has_name(entry, *name)) return index_descriptor(entry);
        }
        throw Error(ErrorKind::not_found, "the archive has no image of the name " + *name);
    }
    std::set<std::string> digests;
    bool platforms = false;
    for (const auto& entry : *found) {
        if (!entry.is_object()) corrupt("a descriptor of the index is not an object");
        digests.insert(optional_text(entry, "digest").value_or(""));
        platforms = platforms || optional_object(entry, "platform") != nullptr;
    }
    if (digests.size() == 1) return index_descriptor(found->front());
    if (platforms) return choose_for_host(index);
    throw Error(ErrorKind::invalid_argument,
                "the archive has " + std::to_string(digests.size()) + " images: the option \"name\" must say which");
}

json parse_index(const std::string& text) {
    return parse_document(text, max_index_bytes, index_file);
}

// The entry of index.json that skopeo finds under TAG, or without one: the only entry.
Descriptor choose_tagged(const json& index, const std::optional<std::string>& tag) {
    const auto* const entries = optional_array(index, "manifests");
    if (entries == nullptr) corrupt("its index has no manifests");
    const bool named = tag && !tag->empty();
    if (!named && entries->size() != 1) corrupt("its index has several manifests");
    const auto found = std::find_if(entries->begin(), entries->end(), [&](const json& entry) {
        if (!entry.is_object()) return false;
        const auto type = optional_text(entry, "mediaType");
        if (type != manifest_type && type != index_type) return false;
        const auto annotations = optional_text_map(entry, "annotations");
        const auto name = annotations.find(tag_key);
        return !named || (name != annotations.end() && name->second == *tag);
    });
    if (found == entries->end()) corrupt("it has no image of that name");
    return index_descriptor(*found);
}

// NAME with the registry and the tag that docker and skopeo take for granted: docker.io/library/app:latest for "app".
std::string complete_name(std::string name) {
    const auto slash = name.find('/');
    const auto first = name.substr(0, slash);
    const bool has_registry =
        slash != std::string::npos && (first.find_first_of(".:") != std::string::npos || first == "localhost");
    if (!has_registry) name.insert(0, slash == std::string::npos ? "docker.io/library/" : "docker.io/");
    if (name.find_first_of(":@", name.rfind('/') + 1) == std::string::npos) name += ":latest";
    return name;
}

bool names_image(const json& entry, const std::string& name) {
    const auto tags = entry.is_object() ? entry.find("RepoTags") : entry.end();
    if (tags == entry.end() || !tags->is_array()) return false;
    return std::any_of(tags->begin(), tags->end(), [&](const json& tag) {
        return tag.is_string() && complete_name(tag.get<std::string>()) == complete_name(name);
    });
}

// The entry of manifest.json that is meant: by its number as "@0", by one of its names, or as the only one.
const json& choose_image(const json& list, const std::optional<std::string>& name) {
    const auto several = std::to_string(list.size()) + " images";
    if (!name) {
        if (list.size() == 1) return list.front();
        throw Error(ErrorKind::invalid_argument, "the archive has " + several + ": the option \"name\" must say which");
    }
    if (name->starts_with('@')) {
        std::size_t number = 0;
        const auto* end = name->data() + name->size();
        const auto [rest, error] = std::from_chars(name->data() + 1, end, number);
        if (error != std::errc() || rest != end)
            throw Error(ErrorKind::invalid_argument, "\"" + *name + "\" is no number of an image; the first one is @0");
        if (number < list.size()) return list[number];
        throw Error(ErrorKind::not_found, "the archive has " + several + ", and no " + *name);
    }
    for (const auto& entry : list) {
        if (names_image(entry, *name)) return entry;
    }
    throw Error(ErrorKind::not_found, "the archive has no image of the name " + *name);
}

}  // namespace

ImageArchive::ImageArchive(FileDescriptor file, const Cancellation& cancellation)
    : file_(std::move(file)), cancellation_(cancellation), index_(file_.get(), cancellation) {}

ImageArchive::ImageArchive(FileDescriptor file, const ImageReference& reference, const std::optional<std::string>& name,
                           const std::optional<Digest>& pinned, const Cancellation& cancellation)
    : ImageArchive(std::move(file), cancellation) {
    // `docker save` of late writes both; then the layout has what a registry would serve. skopeo asks for no
    // oci-layout.
    if (index_.find(index_file)) {
        const auto policy = check_policy("oci-archive", reference);
        open_layout(choose(parse_index(read(index_file, max_index_bytes)), name), policy);
    } else if (index_.find("manifest.json")) {
        open_docker(name, check_policy("docker-archive", reference));
    } else {
        corrupt("neither index.json nor manifest.json is in it: it is neither an oci-archive nor a docker-archive");
    }
    require_digest(pinned);
}

std::unique_ptr<ImageArchive> ImageArchive::open_tagged(FileDescriptor file, const std::optional<std::string>& tag,
                                                        const std::string& policy, const std::optional<Digest>& pinned,
                                                        const Cancellation& cancellation) {
    std::unique_ptr<ImageArchive> archive(new ImageArchive(std::move(file), cancellation));
    const auto index = parse_index(archive->read(index_file, max_index_bytes));
    archive->open_layout(choose_tagged(index, tag), policy);
    archive->require_digest(pinned);
    if (const auto& delta = archive->image_->delta) {
        for (const auto& [layer, made] : delta->made) archive->place_of(made.blob);
    } else {
        for (const auto& layer : archive->image_->manifest.layers) archive->place_of(layer);
    }
    return archive;
}

void ImageArchive::require_digest(const std::optional<Digest>& pinned) const {
    if (pinned && image_->digest != *pinned)
        throw Error(ErrorKind::digest_mismatch,
                    "the archive has the digest " + image_->digest.text() + ", not " + pinned->text());
}

std::string ImageArchive::read(const std::string& name, std::size_t limit) const {
    const auto place = index_.find(name);
    if (!place) corrupt(name + " is missing");
    if (place->size > limit) corrupt(name + " is larger than the limit of " + std::to_string(limit) + " bytes");
    return read_at(file_.get(), place->offset, place->size, name);
}

std::string ImageArchive::verified(const Descriptor& blob, std::size_t limit, const std::string& what) const {
    auto text = read("blobs/sha256/" + blob.digest.hex(), limit);
    if (Digest(sha256(text)) != blob.digest)
        throw Error(ErrorKind::digest_mismatch, "the " + what + " does not have the digest " + blob.digest.text());
    return text;
}

void ImageArchive::open_layout(Descriptor chosen, const std::string& policy) {
    auto text = verified(chosen, max_manifest_bytes, "manifest");
    if (Manifest::is_index(text)) {
        chosen = choose_for_host(parse_document(text, max_manifest_bytes, "index"));
        text = verified(chosen, max_manifest_bytes, "manifest");
    }
    if (DeltaArtifact::is_one(text)) {
        image_.emplace(SourceImage::of_delta(text, policy,
                                             [&](const Descriptor& blob, std::size_t limit, const std::string& what) {
                                                 return verified(blob, limit, what);
                                             }));
        return;
    }
    // As skopeo, which a pull reads through, follows one.
    if (Manifest::is_index(text)) throw Error(ErrorKind::unsupported_image, index_of_indexes);
    const auto config = verified(Manifest::parse(text).config, max_config_bytes, "config");
    finish(std::move(text), config, policy);
}

void ImageArchive::open_docker(const std::optional<std::string>& name, const std::string& policy) {
    const auto list = parse_json(read("manifest.json", max_index_bytes));
    if (!list.is_array() || list.empty() || !list.front().is_object()) corrupt("manifest.json lists no image");
    const auto& chosen = choose_image(list, name);
    if (!chosen.is_object()) corrupt("an image of manifest.json is not an object");
    auto config_text = read(required_text(chosen, "Config"), max_config_bytes);
    const auto config = ImageConfig::parse(config_text);
    // What Go writes for a list that it never made.
    const auto* const layers = optional_array(chosen, "Layers");
    if ((layers == nullptr ? 0 : layers->size()) != config.diff_ids.size())
        corrupt("manifest.json and the config do not list the same layers");
    auto described = json::array();
    for (std::size_t i = 0; i < config.diff_ids.size(); ++i) {
        if (!(*layers)[i].is_string()) corrupt("manifest.json: a layer is not a string");
        const auto file = (*layers)[i].get<std::string>();
        const auto place = index_.find(file);
        if (!place) corrupt(file + " is missing");
        const auto head = std::min<std::uint64_t>(place->size, max_magic_bytes);
        const auto compression = compression_of(read_at(file_.get(), place->offset, head, file));
        // What is not compressed has its diff-id for a digest; that it does is seen when it is read.
        const auto digest =
            compression != CompressionFormat::none
                ? Digest(in_context(file,
                                    [&] { return content_of(file_.get(), cancellation_, place->offset, place->size); }))
                : config.diff_ids[i];
        blobs_.emplace(digest, *place);
        std::string type = "application/vnd.oci.image.layer.v1.tar";
        if (compression != CompressionFormat::none) type.append("+").append(to_string(compression));
        described.push_back({{"mediaType", type}, {"digest", digest.text()}, {"size", place->size}});
    }
    // nlohmann::json sorts keys: one archive, one text.
    const json manifest{{"schemaVersion", 2},
                        {"mediaType", manifest_type},
                        {"config",
                         {{"mediaType", "application/vnd.oci.image.config.v1+json"},
                          {"digest", Digest(sha256(config_text)).text()},
                          {"size", config_text.size()}}},
                        {"layers", std::move(described)}};
    finish(manifest.dump(), std::move(config_text), policy);
}

void ImageArchive::finish(std::string manifest_text, std::string config_text, const std::string& policy) {
    image_.emplace(SourceImage::of(std::move(manifest_text), std::move(config_text), policy));
}

TarIndex::Place ImageArchive::place_of(const Descriptor& blob) const {
    std::optional<TarIndex::Place> place;
    if (const auto known = blobs_.find(blob.digest); known != blobs_.end()) {
        place = known->second;
    } else {
        place = index_.find("blobs/sha256/" + blob.digest.hex());
    }
    if (!place) corrupt("the blob " + blob.digest.text() + " is missing");
    if (place->size != blob.size)
        corrupt("the blob " + blob.digest.text() + " has " + std::to_string(place->size) +
                " bytes, the manifest says " + std::to_string(blob.size));
    return *place;
}

std::unique_ptr<Blob> ImageArchive::open(const Descriptor& blob) {
    return std::make_unique<FileBlob>(file_.get(), place_of(blob).offset, blob);
}

}  // namespace imaged
