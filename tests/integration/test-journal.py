#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What imaged logs answers an auditor: who had what done, from where and to where, what was refused, what is gone. The fields are tested on a booted system."""
import os
import re
import socket
import tempfile
import threading
import unittest
import unittest.mock

import bus_fixture
import oci_layout
import sanitizers
import system_bus


class Logged:
    """A daemon whose lines of the log are read: SystemCase or Case with this in front."""
    log = None  # before the daemon is started, where it is not in the directory of the test

    def command(self):
        return [*super().command(), "--log-level", "info"]

    def spawn(self, command, **keywords):
        if "--log-level" not in command:
            return super().spawn(command, **keywords)
        self.log = self.log or self.directory + "/log"
        with open(self.log, "w", encoding="utf-8") as log:
            return super().spawn(command, stderr=log, **keywords)

    def lines(self, *texts):
        """Those with TEXTS."""
        with open(self.log, encoding="utf-8") as log:
            return [line for line in log if all(text in line for text in texts)]

    def logged(self, *texts):
        """Waits for a line with TEXTS."""
        self.eventually(lambda: self.lines(*texts))


@unittest.skipUnless(os.geteuid() == 0, "needs root to become other users")
class Journal(Logged, system_bus.SystemCase):
    def setUp(self):
        super().setUp()
        self.layout = oci_layout.Layout(self.directory + "/layout")
        self.digest = self.layout.image("it", [oci_layout.layer([oci_layout.Entry("usr/file", content=b"x")])])
        self.image = self.layout.reference("it")

    def root_does(self, method, kind, *values):
        self.assertEqual(self.root.finished(self.root.call(method, kind, *values)[0])["Result"], "success")

    def test_a_job_is_told_with_source_target_and_user(self):
        self.root_does("Pull", "(sa{sv})", self.image, {"target": "docker://example.org/mine:1"})
        self.logged(f"starts: pull {self.image} to docker://example.org/mine:1 for user 0")
        self.root_does("Export", "(ssa{sv})", "docker://example.org/mine:1", f"oci:{self.directory}/out", {})
        self.logged(f"starts: export docker://example.org/mine:1 to oci:{self.directory}/out for user 0")
        self.root_does("Prune", "(a{sv})", {"dry-run": True})
        self.logged("starts: prune (dry run: nothing is removed) for user 0")
        self.root_does("Remove", "(asa{sv})", ["docker://example.org/mine:1"], {})
        self.logged("starts: remove docker://example.org/mine:1 for user 0")
        self.logged("removed docker://example.org/mine:1 for user 0")

    def test_the_outcome_says_what_verified_the_image(self):
        job = self.root.finished(self.root.start("Pull", self.image))
        self.assertEqual(job["Outcome"]["signature-policy"], "insecureAcceptAnything (default)")
        self.assertEqual(self.root.finished(self.root.start("Pull", self.image))["Outcome"]["signature-policy"], "insecureAcceptAnything (default)")

    def test_what_a_job_fetched_in_vain_is_told(self):
        layer = oci_layout.layer([oci_layout.Entry("usr/large", content=os.urandom(300_000))], None)
        self.layout.image("damaged", [layer])
        self.layout.blob_path(oci_layout.digest(layer.data)).write_bytes(layer.data.replace(b"\0" * 512, b"\0" * 511 + b"\1"))
        job = self.root.finished(self.root.start("Pull", self.layout.reference("damaged")))
        self.assertEqual((job["Result"], job["Outcome"], job["Bytes"]), ("failed", {}, [len(layer.data)] * 2), job)
        self.logged("failed after", f" s, {len(layer.data)} bytes fetched: ")
        # A job that fetches no layers has none.
        self.root.finished(self.root.start("Rollback", self.image))
        self.logged("failed after", " s: NotFound")

    def test_who_is_refused_is_told(self):
        user = self.caller(1)
        self.assert_refused("NotAuthorized", user.start, "Pull", "docker://open.example/a:b")
        self.logged("warning: refused: user 1 may not pull", "(pull docker://open.example/a:b)")
        self.assert_refused("NotAuthorized", user.start, "Pull", self.image)
        self.logged("warning: refused: user 1 may not pull " + self.image)
        self.allow("org.imaged1.pull", "org.imaged1.pull-unverified", "org.imaged1.store-as")
        self.assert_refused("NotAuthorized", user.start, "Pull", "docker://open.example/a:b", {"target": "docker://signed.example/a:b"})
        self.logged("warning: refused: user 1: may not store docker://open.example/a:b as docker://signed.example/a:b")
        # Prepare stores nothing under that name.
        user.start("Prepare", "docker://open.example/a:b", {"target": "docker://signed.example/a:b"})
        # Each call that is refused names the images that it is about.
        self.assert_refused("NotAuthorized", user.call, "Remove", "(asa{sv})", ["docker://open.example/a:b", "docker://open.example/c:d"], {})
        self.logged("warning: refused: user 1 may not remove images", "(remove docker://open.example/a:b docker://open.example/c:d)")
        self.assert_refused("NotAuthorized", user.call, "Export", "(ssa{sv})", "docker://open.example/a:b", "oci:/tmp/x", {})
        self.logged("warning: refused: user 1 may not export images by a path", "(export docker://open.example/a:b to oci:/tmp/x)")
        self.assert_refused("NotAuthorized", user.start, "Rollback", "docker://open.example/a:b")
        self.logged("warning: refused: user 1 may not roll back images", "(rollback docker://open.example/a:b)")


class LongJob(Logged, bus_fixture.Case):
    """What is said while a job runs: to systemd, for systemctl status, and every 30 seconds to the journal."""
    def setUp(self):
        own = tempfile.TemporaryDirectory()
        self.addCleanup(own.cleanup)
        self.notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.notes.close)
        self.notes.bind(own.name + "/notify")
        self.status = []
        threading.Thread(target=self.listen, daemon=True).start()
        self.log = own.name + "/log"
        with unittest.mock.patch.dict(os.environ, NOTIFY_SOCKET=own.name + "/notify"):
            super().setUp()

    def listen(self):
        while (text := self.notes.recv(4096)) != b"end":
            self.status.append(text.decode())

    def tearDown(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"end", self.notes.getsockname())
        super().tearDown()

    def test_what_runs_is_told_and_how_far_it_is(self):
        client = self.client()
        first = self.image("wait")
        job = client.pull(first)
        self.eventually(lambda: self.status[-1:] == [f"STATUS=Job {job}: pull {first}"])
        waiting = client.pull(self.image("succeed"))
        self.eventually(lambda: self.status[-1] == f"STATUS=Job {job}: pull {first}; 1 waiting")
        # What somebody looks at is not told to everybody.
        looks = client.start("Prepare", self.image("wait"))[0]
        self.eventually(lambda: self.status[-1] == f"STATUS=Job {job}: pull {first}; Job {looks}: prepare; 1 waiting")

        goes_on = f"job {job} goes on: pull {first}: "
        self.eventually(lambda: self.lines(goes_on), timeout=40)
        line = self.lines(goes_on)[0]
        self.assertRegex(line, r": [a-z]+, \d+ %")
        seconds = float(re.search(r", for ([0-9.]+) s$", line).group(1))
        self.assertTrue(30 <= seconds < 40 * sanitizers.SLOWER, line)
        for each in (waiting, looks, job):
            client.cancel(each)
        self.eventually(lambda: self.status[-1] == "STATUS=Idle")


if __name__ == "__main__":
    unittest.main(verbosity=2)
