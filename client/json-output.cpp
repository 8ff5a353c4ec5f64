// SPDX-License-Identifier: Apache-2.0
#include "json-output.hpp"

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "bus/bus-error.hpp"

namespace imagectl {

namespace {

using Json = nlohmann::ordered_json;

constexpr int schema = 1;
constexpr int max_depth = 100;

enum class Type { text, number, flag, layers, texts, counts, words, records };
struct Field {
    const char* key;
    Type type;
};

constexpr Field image_fields[] = {
    {"image", Type::text},         {"source", Type::text},       {"state", Type::text},
    {"error", Type::text},         {"digest", Type::text},       {"commit", Type::text},
    {"merge-commit", Type::text},  {"base-commit", Type::text},  {"version", Type::text},
    {"created", Type::number},     {"layers", Type::number},     {"size", Type::number},
    {"update-digest", Type::text}, {"architecture", Type::text}, {"os", Type::text},
    {"image-id", Type::text},
};
constexpr Field show_fields[] = {
    {"importer", Type::text}, {"layer-list", Type::layers}, {"labels", Type::texts}, {"filtered", Type::counts}};
constexpr Field layer_fields[] = {{"digest", Type::text},    {"size", Type::number}, {"kind", Type::text},
                                  {"present", Type::flag},   {"ref", Type::text},    {"commit", Type::text},
                                  {"created-by", Type::text}};
constexpr Field deployment_fields[] = {
    {"stateroot", Type::text}, {"checksum", Type::text},     {"serial", Type::number}, {"booted", Type::flag},
    {"pending", Type::flag},   {"rollback", Type::flag},     {"staged", Type::flag},   {"pinned", Type::flag},
    {"reference", Type::text}, {"image", Type::text},        {"refspec", Type::text},  {"digest", Type::text},
    {"version", Type::text},   {"merge-commit", Type::text}, {"error", Type::text},
};
constexpr Field prepare_fields[] = {
    {"image", Type::text},
    {"digest", Type::text},
    {"previous-digest", Type::text},
    {"image-id", Type::text},
    {"previous-image-id", Type::text},
    {"architecture", Type::text},
    {"os", Type::text},
    {"up-to-date", Type::flag},
    {"version", Type::text},
    {"layout", Type::text},
    {"signature-policy", Type::text},
    {"layers", Type::layers},
    {"layers-present", Type::number},
    {"layers-missing", Type::number},
    {"bytes-to-fetch", Type::number},
};
constexpr Field pull_fields[] = {
    {"image", Type::text},
    {"digest", Type::text},
    {"previous-digest", Type::text},
    {"image-id", Type::text},
    {"architecture", Type::text},
    {"os", Type::text},
    {"changed", Type::flag},
    {"commit", Type::text},
    {"merge-commit", Type::text},
    {"base-commit", Type::text},
    {"version", Type::text},
    {"layers", Type::number},
    {"layers-fetched", Type::number},
    {"bytes-fetched", Type::number},
    {"bytes-reused", Type::number},
    {"objects-written", Type::number},
    {"objects-reused", Type::number},
    {"bytes-written", Type::number},
    {"filtered", Type::counts},
    {"special-files-dropped", Type::number},
    {"names-dropped", Type::number},
    {"attributes-dropped", Type::number},
    {"layers-dropped", Type::words},
    {"relabelled", Type::number},
    {"signature-policy", Type::text},
};

constexpr Field remove_fields[] = {
    {"removed", Type::records}, {"missing", Type::words}, {"layers-dropped", Type::words}};
constexpr Field prune_fields[] = {
    {"dry-run", Type::flag},         {"bytes", Type::number},         {"objects", Type::number},
    {"commits", Type::number},       {"objects-total", Type::number}, {"foreign-commits", Type::number},
    {"layers-dropped", Type::words}, {"damaged", Type::records},
};
constexpr Field verify_fields[] = {
    {"sound", Type::flag},           {"images-checked", Type::number}, {"objects-checked", Type::number},
    {"bytes-checked", Type::number}, {"damaged", Type::records},       {"damaged-layers", Type::records},
    {"missing", Type::words},        {"notes", Type::records},         {"unverified", Type::records},
    {"refetched", Type::records},    {"repaired", Type::records},      {"unrepaired", Type::records},
    {"unchecked", Type::records},    {"not-recorded", Type::text},     {"warnings", Type::words},
};
// What any of the records in those lists may say.
constexpr Field record_fields[] = {
    {"image", Type::text},
    {"digest", Type::text},
    {"previous-digest", Type::text},
    {"error", Type::text},
    {"message", Type::text},
    {"layers-fetched", Type::number},
    {"bytes-fetched", Type::number},
    {"kind", Type::text},
    {"object", Type::text},
    {"layer", Type::text},
    {"ref", Type::text},
    {"path", Type::text},
    {"problem-count", Type::number},
    {"error-name", Type::text},
    {"update-digest", Type::text},
    {"update-version", Type::text},
    {"layers-missing", Type::number},
    {"bytes-to-fetch", Type::number},
};

constexpr Field check_fields[] = {
    {"image", Type::text},
    {"digest", Type::text},
    {"update-available", Type::flag},
    {"update-digest", Type::text},
    {"update-version", Type::text},
    {"signature-policy", Type::text},
    {"layers-missing", Type::number},
    {"bytes-to-fetch", Type::number},
};

constexpr Field check_images_fields[] = {
    {"all", Type::flag},
    {"images-checked", Type::number},
    {"updates", Type::records},
    {"unchecked", Type::records},
};

constexpr Field diff_fields[] = {
    {"from", Type::text},
    {"to", Type::text},
    {"pending", Type::flag},
    {"from-digest", Type::text},
    {"to-digest", Type::text},
    {"from-version", Type::text},
    {"to-version", Type::text},
    {"layers-added", Type::layers},
    {"layers-removed", Type::layers},
    {"layers-kept", Type::layers},
    {"bytes-added", Type::number},
    {"bytes-removed", Type::number},
    {"bytes-kept", Type::number},
};
constexpr Field diff_file_fields[] = {
    {"files-added", Type::words},
    {"files-removed", Type::words},
    {"files-changed", Type::words},
    {"truncated", Type::flag},
};

constexpr Field copy_fields[] = {
    {"image", Type::text},
    {"repository", Type::text},
    {"digest", Type::text},
    {"previous-digest", Type::text},
    {"changed", Type::flag},
    {"commit", Type::text},
    {"merge-commit", Type::text},
    {"base-commit", Type::text},
    {"version", Type::text},
    {"layers", Type::number},
    {"objects-linked", Type::number},
    {"objects-reflinked", Type::number},
    {"objects-copied", Type::number},
    {"objects-present", Type::number},
    {"bytes-copied", Type::number},
};

constexpr Field export_fields[] = {
    {"image", Type::text},           {"destination", Type::text},     {"digest", Type::text},
    {"original-digest", Type::text}, {"digest-kept", Type::flag},     {"layers", Type::number},
    {"layers-kept", Type::number},   {"bytes-written", Type::number},
};

// What a job of each kind finds.
constexpr struct {
    std::string_view kind;
    std::span<const Field> fields;
} outcomes[] = {{"prepare", prepare_fields}, {"pull", pull_fields},
                {"import", pull_fields},     {"copy", copy_fields},
                {"export", export_fields},   {"import-archive", pull_fields},
                {"check", check_fields},     {"check-images", check_images_fields},
                {"remove", remove_fields},   {"prune", prune_fields},
                {"verify", verify_fields}};

void add(Json& json, const Dictionary& dictionary, std::span<const Field> fields) {
    for (const auto& [key, type] : fields) switch (type) {
            case Type::text:
                if (const auto value = dictionary.text(key)) json[key] = *value;
                break;
            case Type::number:
                if (const auto value = dictionary.number(key)) json[key] = *value;
                break;
            case Type::flag:
                if (const auto value = dictionary.flag(key)) json[key] = *value;
                break;
            case Type::layers:
                json[key] = Json::array();
                for (const auto& layer : dictionary.list(key)) {
                    Json item = Json::object();
                    add(item, layer, layer_fields);  // which holds no lists itself
                    json[key].push_back(std::move(item));
                }
                break;
            case Type::words: json[key] = dictionary.words(key); break;
            case Type::records:
                json[key] = Json::array();
                for (const auto& record : dictionary.list(key)) {
                    Json item = Json::object();
                    add(item, record, record_fields);
                    if (auto layers = record.words("layers"); !layers.empty()) item["layers"] = std::move(layers);
                    if (const auto problems = record.list("problems"); !problems.empty()) {
                        item["problems"] = Json::array();
                        for (const auto& problem : problems) {
                            item["problems"].push_back(Json::object());
                            add(item["problems"].back(), problem, record_fields);
                        }
                    }
                    json[key].push_back(std::move(item));
                }
                break;
            case Type::texts:
                json[key] = Json::object();
                for (const auto& [name, value] : dictionary.texts(key)) json[key][name] = value;
                break;
            case Type::counts:
                json[key] = Json::object();
                for (const auto& [name, numbers] : dictionary.counts(key)) {
                    json[key][name] = Json::object();
                    for (const auto& [path, count] : numbers) json[key][name][path] = count;
                }
                break;
        }
}

Json document() {
    return {{"schema", schema}};
}

// In ASCII: nothing in it drives a terminal.
std::string line(const Json& json) {
    return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string list_json(const std::vector<ListedImage>& images) {
    Json json = document();
    json["images"] = Json::array();
    for (const auto& image : images) {
        Json item = Json::object();
        for (const auto& [key, type] : image_fields) {
            const auto* text = image.text(key);
            const auto number = image.number(key);
            if (type == Type::text && text != nullptr) item[key] = *text;
            if (type == Type::number && number) item[key] = *number;
        }
        json["images"].push_back(std::move(item));
    }
    return line(json);
}

std::string deployments_json(const std::vector<Dictionary>& deployments) {
    Json json = document();
    json["deployments"] = Json::array();
    for (const auto& deployment : deployments) {
        Json item = Json::object();
        add(item, deployment, deployment_fields);
        // Empty and absent are two answers: the image is not stored any more, and no image is known.
        if (deployment.text("merge-commit")) item["stored-as"] = deployment.words("stored-as");
        json["deployments"].push_back(std::move(item));
    }
    return line(json);
}

std::string show_json(const Dictionary& image) {
    Json json = document();
    add(json, image, image_fields);
    add(json, image, show_fields);
    return line(json);
}

std::string diff_json(const Dictionary& difference) {
    Json json = document();
    add(json, difference, diff_fields);
    if (difference.flag("truncated")) add(json, difference, diff_file_fields);
    return line(json);
}

std::string jobs_json(const std::vector<JobStatus>& jobs) {
    Json json = document();
    json["jobs"] = Json::array();
    for (const auto& job : jobs) {
        Json item = {{"job", job.id},
                     {"path", job.path},
                     {"kind", job.kind},
                     {"state", job.state},
                     {"image", job.image},
                     {"images", job.images},
                     {"owner", job.owner},
                     {"position", job.position},
                     {"phase", job.phase},
                     {"fraction", job.fraction},
                     {"bytes-done", job.bytes_done},
                     {"bytes-total", job.bytes_total},
                     {"layers-done", job.layers_done},
                     {"layers-total", job.layers_total},
                     {"steps-done", job.steps_done},
                     {"steps-total", job.steps_total},
                     {"unit", job.unit},
                     {"created", job.created},
                     {"started", job.started},
                     {"finished", job.finished}};
        if (!job.result.empty()) item["result"] = job.result;
        if (!job.error_name.empty()) item["error"] = {{"name", job.error_name}, {"message", job.error_message}};
        json["jobs"].push_back(std::move(item));
    }
    return line(json);
}

std::string outcome_json(const FollowedJob& job) {
    Json json = document();
    json["job"] = job.status.id;
    json["kind"] = job.status.kind;
    json["result"] = job.status.result;
    if (job.status.result != "success")
        json["error"] = {{"name", job.status.error_name}, {"message", job.status.error_message}};
    else
        for (const auto& [kind, fields] : outcomes)
            if (job.status.kind == kind) add(json, job.outcome, fields);
    return line(json);
}

std::string error_json(const std::string& name, const std::string& message) {
    Json json = document();
    json["error"] = Json::object();
    if (!name.empty()) json["error"]["name"] = name;
    json["error"]["message"] = message;
    return line(json);
}

std::string detached_json(std::uint32_t id, const std::string& path) {
    Json json = document();
    json["job"] = id;
    json["path"] = path;
    return line(json);
}

std::string origin_json(const std::string& reference) {
    Json json = document();
    json["reference"] = reference;
    return line(json);
}

std::string document_json(const std::string& image, const char* key, const std::string& text) {
    Json json = document();
    json["image"] = image;
    try {
        json[key] = Json::parse(text, [](int depth, Json::parse_event_t, Json&) {
            if (depth > max_depth) throw std::length_error("nested too deeply");
            return true;
        });
    } catch (const std::exception& error) {
        throw BusError("org.imaged1.Error.CorruptInput",
                       std::string("the stored ") + key + " is not usable JSON: " + error.what());
    }
    return line(json);
}

}  // namespace imagectl
