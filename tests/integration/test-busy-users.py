#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long users who keep imaged busy make root and others wait: real daemon and worker, callers with uids of their own."""
import contextlib
import threading
import time
import unittest

import oci_layout
import sanitizers
import system_bus
from system_bus import SystemCase

USER, OTHER = system_bus.USERS[:2]


class Turns(SystemCase):
    """Nobody keeps root or another user waiting."""

    def setUp(self):
        super().setUp()
        self.silent = system_bus.SilentServer()
        self.addCleanup(self.silent.stop)

    def fill(self, uid):
        """Starts what UID can until it is refused; how many jobs that were."""
        user, count = self.caller(uid), 0
        try:
            for count in range(400):
                user.start("Prepare", f"docker://{self.silent.address}/{uid}:{count}")
        except system_bus.Refused as refused:
            self.assertEqual(refused.name, "QueueFull")
        return count

    def time_to_start(self, job):
        properties = self.root.finished(job, 60)
        return (properties["StartTimestampMonotonic"] - properties["CreateTimestampMonotonic"]) / 1e6

    def test_eight_users_who_fill_what_they_can_do_not_delay_root(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        layout.image("t", [oci_layout.layer([])])
        counts = [self.fill(uid) for uid in system_bus.USERS[:8]]
        asked = time.monotonic()
        job = self.root.start("Pull", "ostree-unverified-image:" + layout.reference("t"))
        waited = self.time_to_start(job)
        print(f"    jobs of eight users: {counts}; root's pull waited {waited * 1000:.1f} ms, and was answered after "
              f"{(time.monotonic() - asked) * 1000:.0f} ms; imaged's peak {self.peak():.1f} MiB")
        self.assertEqual(self.root.properties(job)["Result"], "success")
        self.assertLess(waited, 1 * sanitizers.SLOWER)
        prepared = self.root.start("Prepare", layout.reference("t"))
        self.assertLess(self.time_to_start(prepared), 1 * sanitizers.SLOWER)

    def test_one_user_leaves_a_turn_to_another(self):
        self.fill(USER)
        other = self.caller(OTHER)
        job = other.start("Prepare", "docker://127.0.0.1:1/x:y")
        properties = other.finished(job, 60)
        self.assertLess(properties["StartTimestampMonotonic"] - properties["CreateTimestampMonotonic"], 1e6 * sanitizers.SLOWER)


class Locks(SystemCase):
    """What anybody may start holds the repository's lock as well."""
    USERS, REMOVALS = 4, 3

    def test_counts_of_others_do_not_keep_root_from_removing(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        layout.image("many", [oci_layout.layer([oci_layout.Entry(f"usr/{number // 200}/{number}", content=str(number).encode()) for number in range(30_000)])])
        layout.image("t", [oci_layout.layer([])])
        for tag in ("many", "t"):
            self.assertEqual(self.root.finished(self.root.start("Pull", "ostree-unverified-image:" + layout.reference(tag)), 120)["Result"], "success")
        ended = threading.Event()

        def count(user):
            while not ended.wait(0.02):
                for background in (False, True):  # requests that differ do not join
                    with contextlib.suppress(system_bus.Refused):
                        user.call("DiskUsage", "(a{sv})", {"background": background})
        threads = [threading.Thread(target=count, args=(self.caller(uid),)) for uid in system_bus.USERS[:self.USERS]]
        for thread in threads:
            thread.start()
        try:
            waits = []
            for _ in range(self.REMOVALS):
                time.sleep(1)
                started = time.monotonic()
                job = self.root.call("Remove", "(asa{sv})", ["oci:/nothing:t"], {})[0]
                self.assertEqual(self.root.outcome(job)[1] if self.root.finished(job, 60) else "", "org.imaged1.Error.NotFound")
                waits.append(time.monotonic() - started)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        print(f"    removals beside {self.USERS} users who count: at most {max(waits):.2f} s")
        self.assertLess(max(waits), 2 * sanitizers.SLOWER)


class Reading(SystemCase):
    """Calls that read take turns too."""

    def test_comparing_files_does_not_delay_listings_of_others(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        for tag in ("one", "two"):
            layout.image(tag, [oci_layout.layer([oci_layout.Entry(f"{tag}/{number:05}") for number in range(8000)])])
            self.assertEqual(self.root.finished(self.root.start("Pull", "ostree-unverified-image:" + layout.reference(tag)), 60)["Result"], "success")
        user, other = self.caller(USER), self.caller(OTHER)
        for number in range(120):
            user.call("Diff", "(ssa{sv})", layout.reference("one"), layout.reference("two"), {"files": True}, wait=False)
        times = []
        for caller in (self.root, other) * 3:
            started = time.monotonic()
            self.assertEqual(len(caller.call("ListImages", "(a{sv})", {})[0]), 2)
            times.append(time.monotonic() - started)
        print(f"    listings beside 120 comparisons of files: at most {max(times) * 1000:.0f} ms; imaged's peak {self.peak():.1f} MiB")
        self.assertLess(max(times), 0.5 * sanitizers.SLOWER)


if __name__ == "__main__":
    unittest.main(verbosity=2)
