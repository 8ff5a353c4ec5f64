// SPDX-License-Identifier: Apache-2.0
#include "process/journal.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

// Who logs is not worth a field: it would be this file every time.
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

#include <cstdlib>
#include <utility>
#include <vector>

#include "base/printable.hpp"
#include "process/log-queue.hpp"

namespace imaged::journal {

namespace {

const char* message_id(Event event) {
    switch (event) {
        case Event::job_started: return "4d4c9fa1d1c64ac9a6e1e1c1fc2f6c01";
        case Event::job_goes_on: return "19ae8e9aa60a4cf6a3a3f1f1d2a2a6be";
        case Event::job_succeeded: return "8f3c4ac0c8654c0d9c63a1f7f8b6e202";
        case Event::job_failed: return "b0f7d0bb4a3f4c55a2b5f3c6e9d1a303";
        case Event::job_cancelled: return "e62b5f0d7f4a4d36b7d2c8a5f0e4b404";
        case Event::job_deferred: return "5f0e6bb3a3b24f0e8b0f2b7e5c1d4a75";
        case Event::image_removed: return "fa1f251a28f24947bfc7c4941a3b6a54";
        case Event::call_refused: return "cba0be038aad455fbde4950039d57c7e";
    }
    return "";
}

// systemd names the journal's stream by device and inode in JOURNAL_STREAM.
bool leads_to_journal() {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat status {};
    if (stream == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
    return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) == stream;
}

}  // namespace

void tell(Event event, const std::string& message, const Fields& fields) noexcept {
    try {
        const bool warns = event == Event::job_failed || event == Event::call_refused;
        const auto level = warns ? spdlog::level::warn : spdlog::level::info;
        if (!spdlog::should_log(level)) return;
        static const bool journal = leads_to_journal();
        if (!journal) {
            spdlog::log(level, "{}", message);
            return;
        }
        std::vector<std::string> texts{"MESSAGE=" + printable(message), "MESSAGE_ID=" + std::string(message_id(event)),
                                       "PRIORITY=" + std::to_string(warns ? LOG_WARNING : LOG_INFO),
                                       "SYSLOG_IDENTIFIER=imaged"};
        for (const auto& [name, value] : fields) {
            if (!value.empty()) texts.push_back(name + "=" + value);
        }
        log_queue::add([texts = std::move(texts)]() mutable {
            std::vector<struct iovec> entry;
            entry.reserve(texts.size());
            for (auto& text : texts) entry.push_back({text.data(), text.size()});
            ::sd_journal_sendv(entry.data(), static_cast<int>(entry.size()));
        });
    } catch (...) {
        // A line that cannot be written is no reason to fail a job.
    }
}

void tell_status(const std::string& text) noexcept {
    try {
        if (std::getenv("NOTIFY_SOCKET") == nullptr) return;
        log_queue::add([line = "STATUS=" + printable(text)] { ::sd_notify(0, line.c_str()); });
    } catch (...) {
        // As above.
    }
}

}  // namespace imaged::journal
