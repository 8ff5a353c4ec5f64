// SPDX-License-Identifier: Apache-2.0
// Runs the job that checks many images: one worker after the other, and their results as one result. Bus thread only.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "jobs/worker-process.hpp"

namespace imaged {

// An image as ListImages has it: its name, and its source if its name does not say it.
struct StoredName {
    std::string name;
    std::optional<std::string> source;
};

class CheckRound {
public:
    // LOOP outlives the round. REQUEST is that of the whole round, with the settings of imaged.conf. Only with
    // ANY_SOURCE are images opened that are not of a registry.
    CheckRound(EventLoop& loop, WorkerSettings settings, job::Request request, bool any_source,
               std::function<void(const job::Progress&)> on_progress, WorkerProcess::OnEnd on_end);

    // Checks the images of STORED that the request names, or all if it names none. Call once.
    // on_end is called after this has returned.
    void begin(const std::vector<StoredName>& stored);
    // Ends the round in place of begin().
    void fail(const Error& error) {
        if (!stopping_) end_later(job::failed(error));
    }
    // Stops the round; on_end is still called.
    void stop();

private:
    void next();
    void check(const StoredName& image);
    void checked(const std::string& image, const job::Result& result);
    void unchecked(const std::string& image, const job::Result& result);
    void found(const std::string& image, const job::Result& result);
    // Adds ENTRY to LIST, which NAME is in the outcome, while there is room.
    template <typename Entry>
    void add(const char* name, std::vector<Entry>& list, Entry entry);
    void end_later(job::Result result);
    job::Result whole() const;

    EventLoop& loop_;
    const WorkerSettings settings_;
    const job::Request request_;
    const bool any_source_;
    const std::function<void(const job::Progress&)> on_progress_;
    const WorkerProcess::OnEnd on_end_;
    std::deque<StoredName> images_;  // that are left
    job::Progress progress_;
    job::CheckImagesOutcome outcome_;
    std::set<std::string> truncated_;  // lists of it that lack entries
    std::vector<job::FoundUpdate> found_updates_;
    std::size_t bytes_ = 0;  // of the lists in outcome_
    std::unique_ptr<WorkerProcess> process_;
    bool stopping_ = false, ended_ = false;
};

}  // namespace imaged
