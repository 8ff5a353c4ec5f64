// SPDX-License-Identifier: Apache-2.0
#include "json-output.hpp"

#include <nlohmann/json.hpp>
#include <optional>

#include "bus/bus-error.hpp"
#include "job/answers.hpp"
#include "job/json-fields.hpp"
#include "job/kinds.hpp"

namespace imagectl {

namespace {

namespace key = imaged::job::key;
using Json = nlohmann::ordered_json;

constexpr int schema = 1;
constexpr int max_depth = 100;

template <typename Answer>
void add(Json& json, const Dictionary& dictionary);

// The values of a dictionary as JSON: the structs of lib/job say which and of which type.
class JsonPrinter : public imaged::job::FieldVisitor<JsonPrinter> {
public:
    JsonPrinter(Json& json, const Dictionary& dictionary) : json_(json), dictionary_(dictionary) {}

    template <typename Value>
    void operator()(const char* key, const Value&) {
        add(key, static_cast<const Value*>(nullptr));
    }

private:
    template <typename Value>
    void add(const char* key, const std::optional<Value>*) {
        add(key, static_cast<const Value*>(nullptr));
    }
    void add(const char* key, const std::string*) { set(key, dictionary_.text(key)); }
    void add(const char* key, const bool*) { set(key, dictionary_.flag(key)); }
    void add(const char* key, const std::uint32_t*) { set(key, dictionary_.number(key)); }
    void add(const char* key, const std::uint64_t*) { set(key, dictionary_.number(key)); }
    void add(const char* key, const std::vector<std::string>*) { json_[key] = dictionary_.words(key); }
    template <typename Record>
    void add(const char* key, const std::vector<Record>*) {
        json_[key] = Json::array();
        for (const auto& record : dictionary_.list(key)) {
            json_[key].push_back(Json::object());
            imagectl::add<Record>(json_[key].back(), record);
        }
    }
    template <imaged::job::HasFields Record>
    void add(const char* key, const Record*) {
        const auto record = dictionary_.dictionary(key);
        if (record.empty()) return;
        json_[key] = Json::object();
        imagectl::add<Record>(json_[key], record);
    }
    void add(const char* key, const std::map<std::string, std::string>*) {
        json_[key] = Json::object();
        for (const auto& [name, value] : dictionary_.texts(key)) json_[key][name] = value;
    }
    void add(const char* key, const imaged::job::FilteredPaths*) {
        json_[key] = Json::object();
        for (const auto& [name, numbers] : dictionary_.counts(key)) {
            json_[key][name] = Json::object();
            for (const auto& [path, count] : numbers) json_[key][name][path] = count;
        }
    }
    template <typename Value>
    void set(const char* key, const std::optional<Value>& value) {
        if (value) json_[key] = *value;
    }

    Json& json_;
    const Dictionary& dictionary_;
};

template <typename Answer>
void add(Json& json, const Dictionary& dictionary) {
    JsonPrinter printer(json, dictionary);
    const Answer answer;
    Answer::fields(answer, printer);
}

// Prints an image from DescribeImages, which has texts and numbers, and the versions that are kept.
class ListPrinter : public imaged::job::FieldVisitor<ListPrinter> {
public:
    ListPrinter(Json& json, const ListedImage& image) : json_(json), image_(image) {}
    template <typename Value>
    void operator()(const char* key, const Value&) {
        constexpr bool is_text =
            std::is_same_v<Value, std::string> || std::is_same_v<Value, std::optional<std::string>>;
        const auto* const text = image_.text(key);
        const auto number = image_.number(key);
        if (is_text && text != nullptr) json_[key] = *text;
        if (!is_text && number) json_[key] = *number;
    }
    void operator()(const char* key, const std::vector<imaged::job::KeptVersionAnswer>&) {
        const imaged::job::KeptVersionAnswer answer;
        for (const auto& kept : image_.kept) {
            json_[key].push_back(Json::object());
            ListPrinter printer(json_[key].back(), kept);
            imaged::job::KeptVersionAnswer::fields(answer, printer);
        }
    }

private:
    Json& json_;
    const ListedImage& image_;
};

// Beside what else JSON says of the same image.
void add_changes(Json& json, const Dictionary& changes) {
    json[key::changes] = Json::object();
    add<imaged::job::ChangesOutcome>(json[key::changes], changes);
}

Json document() {
    return {{"schema", schema}};
}

// In ASCII: nothing in it drives a terminal.
std::string line(const Json& json) {
    return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string list_json(const ImageList& images) {
    // Image by image: the values of all would take several times the memory of their text.
    auto text = line(document());
    text.resize(text.size() - std::string_view("}\n").size());
    text += ",\"images\":[";
    const imaged::job::ImageAnswer answer;
    for (const auto& image : images) {
        Json item = Json::object();
        ListPrinter printer(item, image);
        imaged::job::ImageAnswer::fields(answer, printer);
        if (text.back() == '}') text += ',';
        text += line(item);
        text.pop_back();
    }
    return text + "]}\n";
}

std::string deployments_json(const std::vector<Dictionary>& deployments) {
    Json json = document();
    json["deployments"] = Json::array();
    for (const auto& deployment : deployments) {
        Json item = Json::object();
        if (deployment.text("merge-commit"))
            add<imaged::job::ImageDeployment>(item, deployment);
        else
            add<imaged::job::DeploymentAnswer>(item, deployment);
        json["deployments"].push_back(std::move(item));
    }
    return line(json);
}

std::string show_json(const Dictionary& image) {
    Json json = document();
    add<imaged::job::ImageDescription>(json, image);
    return line(json);
}

std::string diff_json(const Dictionary& difference, const Dictionary* changes) {
    Json json = document();
    if (difference.flag("truncated"))
        add<imaged::job::FileDifference>(json, difference);
    else
        add<imaged::job::DifferenceAnswer>(json, difference);
    if (changes != nullptr) add_changes(json, *changes);
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

std::string outcome_json(const FollowedJob& job, const std::map<std::string, Dictionary>& changes) {
    Json json = document();
    json["job"] = job.status.id;
    json["kind"] = job.status.kind;
    json["result"] = job.status.result;
    if (job.status.result != "success" && !job.status.image.empty()) json["image"] = job.status.image;
    if (job.status.result != "success")
        json["error"] = {{"name", job.status.error_name}, {"message", job.status.error_message}};
    else
        imaged::job::for_each_kind([&](auto kind) {
            if (job.status.kind == kind.traits.name) add<typename decltype(kind)::Outcome>(json, job.outcome);
        });
    for (const auto& [image, brought] : changes) {
        if (json.value(key::image, "") == image) add_changes(json, brought);
        if (!json.contains(key::updates)) continue;
        for (auto& update : json[key::updates])
            if (update.value(key::image, "") == image) add_changes(update, brought);
    }
    return line(json);
}

std::string error_json(const std::string& name, const std::string& message, const std::string& image) {
    Json json = document();
    if (!image.empty()) json["image"] = image;
    json["error"] = Json::object();
    if (!name.empty()) json["error"]["name"] = name;
    json["error"]["message"] = message;
    return line(json);
}

std::string detached_json(std::uint32_t id, const std::string& path, const std::string& image) {
    Json json = document();
    if (!image.empty()) json["image"] = image;
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
