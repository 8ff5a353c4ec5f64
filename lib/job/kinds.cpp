// SPDX-License-Identifier: Apache-2.0
#include "job/kinds.hpp"

#include <algorithm>

#include "job/job.hpp"
#include "job/json-fields.hpp"

namespace imaged::job {

namespace {

using nlohmann::json;

// Of a request on the wire, beside its fields.
constexpr const char* kind_key = "kind";
constexpr const char* work_key = "arguments";

Work read_work(const std::string& name, const json& document) {
    std::optional<Work> work;
    for_each_kind([&](auto kind) {
        using Kind = decltype(kind);
        if (Kind::traits.name == name) work = from_json<Kind>(document);
    });
    if (!work) refuse_message("unknown kind \"" + name + "\"");
    return *std::move(work);
}

}  // namespace

const Traits& Request::traits() const {
    return std::visit([](const auto& kind) -> const Traits& { return kind.traits; }, work);
}

const ImageReference* Request::image() const {
    return std::visit(
        [](const auto& kind) -> const ImageReference* {
            if constexpr (requires { kind.image; }) return &kind.image;
            return nullptr;
        },
        work);
}

std::optional<std::string> Request::image_name() const {
    const auto* const reference = image();
    return reference != nullptr ? std::optional(reference->canonical()) : std::nullopt;
}

const std::vector<ImageReference>* Request::images() const {
    return std::visit(
        [](const auto& kind) -> const std::vector<ImageReference>* {
            if constexpr (requires { kind.images; }) return &kind.images;
            return nullptr;
        },
        work);
}

const std::optional<ImageReference>* Request::target() const {
    return std::visit(
        [](const auto& kind) -> const std::optional<ImageReference>* {
            if constexpr (requires { kind.target; }) return &kind.target;
            return nullptr;
        },
        work);
}

const ImageReference* Request::stored_image() const {
    const auto* const name = target();
    return name != nullptr && *name ? &**name : image();
}

bool Request::may_use_network() const {
    const auto is_remote = [](const ImageReference& reference) { return reference.transport() == Transport::registry; };
    if (const auto* const exported = as<Export>()) return exported->delta_from || is_remote(exported->destination);
    if (const auto* const verify = as<Verify>())
        return verify->repair && (!verify->source || is_remote(*verify->source));
    if (as<CheckImages>() != nullptr) return true;
    return traits().reads_image && is_remote(*image());
}

void keep_own_news(Result& result, const Request& request) {
    const auto* const several = request.images();
    const auto is_own = [&](const std::string& name) {
        const auto is_named = [&](const ImageReference& image) { return image.image() == name; };
        if (several != nullptr) return several->empty() || std::any_of(several->begin(), several->end(), is_named);
        const auto* const image = request.stored_image();
        return image != nullptr && is_named(*image);
    };
    const auto* const verify = request.as<Verify>();
    const bool changes = verify != nullptr ? verify->repair : !request.traits().only_reads;
    const bool finds = request.as<Check>() != nullptr;
    const auto keep = [&](auto& news, bool may) {
        std::erase_if(news, [&](const auto& one) { return !may || !is_own(one.image); });
        if (several == nullptr && news.size() > 1) news.resize(1);
    };
    keep(result.changed_images, changes);
    keep(result.found_updates, finds);
}

std::string encode(const Request& request) {
    auto document = to_json(request);
    document[kind_key] = request.traits().name;
    document[work_key] = std::visit([](const auto& kind) { return to_json(kind); }, request.work);
    // Unlike a result, a request must not be changed on its way: another path would be another repository.
    try {
        return document.dump() + "\n";
    } catch (const json::type_error&) {
        throw Error(ErrorKind::invalid_argument, "a path or an argument of the job is not UTF-8");
    }
}

Request decode_request(std::string_view line) {
    auto document = parse_message(line);
    std::string kind;
    HeldJson work;
    JsonReader reader(document);
    reader(kind_key, kind);
    reader(work_key, work);
    for (const char* key : {kind_key, work_key}) document.erase(key);
    auto request = from_json<Request>(document);
    if (request.repository.empty()) refuse_message("request without repository");
    request.work = read_work(kind, *work);
    return request;
}

}  // namespace imaged::job
