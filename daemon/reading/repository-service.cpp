// SPDX-License-Identifier: Apache-2.0
#include "reading/repository-service.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/exposure.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "base/system-failure.hpp"
#include "process/bus-error.hpp"
#include "process/ini-file.hpp"
#include "reading/catalog.hpp"

namespace imaged {

namespace {

// A question is no longer than what a call may hold.
constexpr std::size_t max_question_bytes = 128 * 1024;

// "bare", "bare-user", "bare-user-only" or "archive"; empty when the repository has no readable config.
std::string repository_mode(const std::string& repository) {
    try {
        const auto path = repository + "/config";
        const auto file = try_open_file(AT_FDCWD, path);
        std::string mode;
        for (const auto& setting : parse_ini(file ? read_all(file.get(), max_ini_bytes, path) : "", path))
            if (setting.section == "core" && setting.key == "mode") mode = setting.value;
        if (mode == "archive-z2") return "archive";
        const bool known = mode == "bare" || mode == "bare-user" || mode == "bare-user-only" || mode == "archive";
        return known ? mode : std::string();
    } catch (const Error&) {
        return {};
    }
}

// The answer is JSON, where bytes that are no text would be replaced.
std::string utf8_document(std::string text) {
    if (bus_text(text) != text) throw Error(ErrorKind::repository_damaged, "the document is not UTF-8");
    return text;
}

// From here on, memory is mapped for each request of its own.
constexpr int mapped_bytes = 256 * 1024;

class Service {
public:
    explicit Service(const std::string& repository) : repository_(repository) {}

    // Sent with the last answer; null if nothing is.
    std::shared_ptr<const std::string> take_document() { return std::exchange(document_, nullptr); }

    nlohmann::json answer(const std::string& line) noexcept {
        try {
            return {{"value", value(parse_json(line))}};
        } catch (...) {
            const auto error = current_error();
            return {{"error", error_name(error.kind())}, {"message", error.what()}};
        }
    }

private:
    nlohmann::json value(const nlohmann::json& question) {
        const auto what = question.value("what", "");
        if (what == "mode") return mode();
        if (what == "deployments") return read_deployments(question.at("sysroot").get<std::string>(), repository_);
        if (what == "counts") return counts();
        if (what == "open") return open();
        if (!catalog_) throw Error(ErrorKind::failed, "the repository is not open");
        if (what == "list") return list(question.value("number", std::uint64_t{0}));
        const auto image = ImageReference::parse(question.value("image", ""));
        if (what == "describe") return catalog_->describe(image);
        if (what == "manifest") return utf8_document(catalog_->manifest(image));
        if (what == "config") return utf8_document(catalog_->config(image));
        if (what == "diff") {
            const auto to = question.value("to", "");
            return catalog_->diff(image, to.empty() ? std::nullopt : std::optional(ImageReference::parse(to)),
                                  question.value("files", false));
        }
        throw Error(ErrorKind::failed, "no such question: " + what);
    }

    nlohmann::json mode() const {
        auto mode = repository_mode(repository_);
        const bool exposed = mode == "bare" && others_can_enter(repository_);
        return {{"mode", std::move(mode)}, {"warning", exposed ? exposure_warning(repository_) : std::string()}};
    }

    // Whether there is a repository.
    bool open() {
        struct stat status {};
        if (::stat(repository_.c_str(), &status) < 0) {
            const int error_number = errno;
            catalog_.reset();
            if (error_number == ENOENT) return false;
            throw as_damage(system_error(error_number, repository_));
        }
        if (catalog_ && !catalog_->is_current()) catalog_.reset();
        if (!catalog_) catalog_ = open_catalog(repository_);
        return catalog_ != nullptr;
    }

    // How many images there are, how many are damaged, and how many have a recorded update. Zero if they cannot be
    // listed: a listing reports that error.
    std::array<std::uint32_t, 3> counts() {
        try {
            if (!open()) return {};
            const auto document = catalog_->list();
            // Within a text there would be a backslash before the second quote.
            const auto count = [&](std::string_view text) {
                std::uint32_t number = 0;
                for (auto at = document->find(text); at != document->npos; at = document->find(text, at + text.size()))
                    ++number;
                return number;
            };
            return {count("\"state\":\""), count("\"state\":\"damaged\""), count("\"update-digest\":")};
        } catch (const std::exception&) {
            return {};
        }
    }

    // No document goes with the answer if it is that of NUMBER.
    nlohmann::json list(std::uint64_t number) {
        auto document = catalog_->list();
        if (std::exchange(listed_, document) != document) ++number_;
        if (number != number_) document_ = std::move(document);
        return {{"number", number_}};
    }

    const std::string repository_;
    std::unique_ptr<ImageCatalog> catalog_;
    std::shared_ptr<const std::string> listed_, document_;
    // No number that an earlier process gave.
    std::uint64_t number_ = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
};

}  // namespace

int serve_repository(const std::string& repository) {
    ::prctl(PR_SET_NAME, "imaged-reader");
    // A listing goes back as a whole when the next is made. By itself, malloc would soon take it from the heap.
    ::mallopt(M_MMAP_THRESHOLD, mapped_bytes);
    Service service(repository);
    std::string input;
    std::array<char, 4096> buffer;
    for (;;) {
        const auto count = ::read(reader_channel, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0 || input.size() > max_question_bytes) return count < 0 ? 1 : 0;
        input.append(buffer.data(), static_cast<std::size_t>(count));
        // The daemon asks one question at a time.
        if (!input.ends_with('\n')) continue;
        auto answer = json_text(service.answer(std::exchange(input, {})));
        const auto taken = service.take_document();
        auto document = taken ? std::string_view(*taken) : std::string_view();
        if (std::max(answer.size(), document.size()) > max_answer_bytes) {
            answer = json_text(nlohmann::json{{"error", error_name(ErrorKind::failed)},
                                              {"message", "the answer is too long for the bus"}});
            document = {};
        }
        const AnswerHeader header{answer.size(), document.size()};
        const auto write = [](std::span<const std::byte> bytes) { write_all(reader_channel, bytes, "answer imaged"); };
        write(std::as_bytes(std::span(&header, 1)));
        write(std::as_bytes(std::span(answer)));
        write(std::as_bytes(std::span(document)));
    }
}

}  // namespace imaged
