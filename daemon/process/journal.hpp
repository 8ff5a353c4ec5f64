// SPDX-License-Identifier: Apache-2.0
// Writes events of jobs to the systemd journal, with fields of their own if standard error is connected to it, and
// otherwise as lines of text. The fields are listed in imaged(8); systemd/imaged.catalog explains each event.
#pragma once

#include <map>
#include <string>

namespace imaged::journal {

// Each has a MESSAGE_ID, which never changes.
enum class Event {
    job_started,
    job_goes_on,
    job_succeeded,
    job_failed,
    job_cancelled,
    job_deferred,
    image_removed,
    call_refused
};

// The fields by name; a field with several values is listed several times.
using Fields = std::multimap<std::string, std::string>;

// Logs MESSAGE, MESSAGE_ID and FIELDS; leaves empty fields out. Never throws.
void tell(Event event, const std::string& message, const Fields& fields) noexcept;

// TEXT is what `systemctl status` says the daemon does, to everybody (STATUS= of sd_notify(3)). Never throws.
void tell_status(const std::string& text) noexcept;

}  // namespace imaged::journal
