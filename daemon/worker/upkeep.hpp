// SPDX-License-Identifier: Apache-2.0
// Runs the jobs that maintain the repository: they remove images, prune unused data, count disk usage and verify
// images. Their outcomes have the keys that the interface documents for each method (dbus/org.imaged1.Manager.xml).
#pragma once

#include "base/cancellation.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

// WORK is that of REQUEST. Like run_verify(), throws Error(not_found) where none of the images that were named is
// stored.
job::Result run_remove(const job::Request& request, const job::Remove& work, const Cancellation& cancellation);
job::Result run_rollback(const job::Request& request, const job::Rollback& work, const Cancellation& cancellation);
job::Result run_prune(const job::Request& request, const job::Prune& work, const Cancellation& cancellation,
                      WorkObserver& observer);
job::Result run_disk_usage(const job::Request& request, const Cancellation& cancellation, WorkObserver& observer);
job::Result run_verify(const job::Request& request, const job::Verify& work, Cancellation& cancellation,
                       WorkObserver& observer);

}  // namespace imaged
