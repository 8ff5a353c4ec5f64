# SPDX-License-Identifier: Apache-2.0
"""Jobs that are killed before each call that changes a file."""
import os

import worker

FAULT_LAYER = os.environ.get("FAULT_LAYER", "")
# Those that fault-layer.cpp knows.
CHANGES = ("create", "write", "renameat", "linkat", "unlinkat", "mkdirat", "fchown", "futimens", "syncfs", "fsync", "fdatasync")


def was_killed(call, after, path, *arguments, env=None, **options):
    """Whether the worker (arguments of worker.Run) was killed before it had called CALL about something below PATH for the AFTERth time; else its job succeeded."""
    environment = {**(env or {}), "LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": call, "FAULT_PATH": str(path), "FAULT_AFTER": str(after), "FAULT_ERRNO": "0", "FAULT_RUN": "kill -9 $PPID"}
    try:
        result = worker.Run(*arguments, env=environment, **options).finish().result
    except AssertionError:
        return True
    # A confined job is another process, which may report that before it is ended as well.
    if result.get("message", "").endswith("the process that changes the repository has ended"):
        return True
    assert result["outcome"] == "success", result
    return False


def at_each_call(path, begin, *arguments, step=1, **options):
    """Yields (call, after) behind each kill of the job, at every STEPth call of each kind. Calls BEGIN before each try, which may return further options."""
    for call in CHANGES:
        after = 0
        while True:
            more = begin() or {}
            if not was_killed(call, after, path, *arguments, **options, **more):
                break
            yield call, after
            after += step
