// SPDX-License-Identifier: Apache-2.0
// What imaged tells of its jobs: as entries of the systemd journal with fields of their own where standard error leads
// there, and as lines of text anywhere else. The fields are listed in imaged(8).
#pragma once

#include <map>
#include <string>

namespace imaged::journal {

// Each has a MESSAGE_ID, which never changes.
enum class Event { job_started, job_succeeded, job_failed, job_cancelled, image_removed, call_refused };

// FIELDS beside MESSAGE and MESSAGE_ID, by name; empty ones are left out. Never throws.
void tell(Event event, const std::string& message, const std::map<std::string, std::string>& fields) noexcept;

}  // namespace imaged::journal
