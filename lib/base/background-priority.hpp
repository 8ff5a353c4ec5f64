// SPDX-License-Identifier: Apache-2.0
// Gives this thread, and what it starts, the processor and the disk only when no other process wants them. A sandbox
// may refuse it, which is no error. May be called between fork(2) and execve(2).
#pragma once

namespace imaged {

void take_background_priority() noexcept;

}  // namespace imaged
