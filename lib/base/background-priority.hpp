// SPDX-License-Identifier: Apache-2.0
// Lowers the processor and disk priority of this thread, and of what it starts, to the lowest there is. A sandbox may
// refuse it, which is no error. May be called between fork(2) and execve(2).
#pragma once

namespace imaged {

void take_background_priority() noexcept;

}  // namespace imaged
