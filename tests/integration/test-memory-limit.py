#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A limit of memory for imaged with all that it starts, as MemoryMax= of the unit is: a worker that reaches it is ended, and the daemon is not."""
import os
import pathlib
import unittest

from bus_fixture import ERROR, MANAGER, Case

LIMIT = 192 << 20


class MemoryGroup:
    """A control group with LIMIT. Throws OSError where none can be made."""

    def __init__(self):
        of_kind = dict(line.split(":", 2)[1:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
        old = pathlib.Path("/sys/fs/cgroup/memory")
        top = old / of_kind["memory"].lstrip("/") if "memory" in of_kind else pathlib.Path("/sys/fs/cgroup", of_kind.get("", "").lstrip("/"))
        self.path = top / f"imaged-test-{os.getpid()}"
        self.path.mkdir()
        try:
            limit = self.path / ("memory.limit_in_bytes" if "memory" in of_kind else "memory.max")
            with limit.open("r+", encoding="ascii") as file:
                file.write(str(LIMIT))
        except OSError:
            self.path.rmdir()
            raise

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def killed(self):
        """How many processes were ended."""
        path = self.path / "memory.oom_control"
        path = path if path.exists() else self.path / "memory.events"
        return sum(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("oom_kill "))


class MemoryLimit(Case):
    def setUp(self):
        try:
            self.group = MemoryGroup()
        except OSError as error:
            self.skipTest(f"no control group of memory can be made here: {error}")
        self.addCleanup(self.group.path.rmdir)  # when all that was in it has ended
        super().setUp()

    def spawn(self, command, **options):
        if command[0] == self.command()[0]:
            options["preexec_fn"] = self.group.enter
        return super().spawn(command, **options)

    def test_the_worker_is_ended_and_the_daemon_goes_on(self):
        client = self.client()
        for number in range(1, 4):
            job = client.finished(client.pull(self.image("eat")), 60)
            self.assertEqual((job["Result"], job["ErrorName"]), ("failed", ERROR + "Failed"))
            self.assertIn("signal 9", job["ErrorMessage"])
            self.assertIn("memory", job["ErrorMessage"])
            self.assertEqual(self.group.killed(), number)
            self.assertIsNone(self.daemon.poll())
            client.call(MANAGER, "ListJobs", timeout=5000)
            self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")


if __name__ == "__main__":
    unittest.main(verbosity=2)
