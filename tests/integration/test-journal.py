#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What imaged logs answers an auditor: who had what done, from where and to where, what was refused, what is gone. The fields are tested on a booted system."""
import os
import unittest

import oci_layout
import system_bus


@unittest.skipUnless(os.geteuid() == 0, "needs root to become other users")
class Journal(system_bus.SystemCase):
    def setUp(self):
        self.log = None
        super().setUp()
        self.layout = oci_layout.Layout(self.directory + "/layout")
        self.digest = self.layout.image("it", [oci_layout.layer([oci_layout.Entry("usr/file", content=b"x")])])
        self.image = self.layout.reference("it")

    def command(self):
        return [*super().command(), "--log-level", "info"]

    def spawn(self, command, **keywords):
        if "--log-level" in command:
            self.log = self.directory + "/log"
            with open(self.log, "w", encoding="utf-8") as log:
                return super().spawn(command, stderr=log, **keywords)
        return super().spawn(command, **keywords)

    def logged(self, *texts):
        """Waits for a line with TEXTS."""
        def found():
            with open(self.log, encoding="utf-8") as log:
                return any(all(text in line for text in texts) for line in log)
        self.eventually(found)

    def root_does(self, method, kind, *values):
        self.assertEqual(self.root.finished(self.root.call(method, kind, *values)[0])["Result"], "success")

    def test_a_job_is_told_with_source_target_and_user(self):
        self.root_does("Pull", "(sa{sv})", self.image, {"target": "docker://example.org/mine:1"})
        self.logged(f"starts: pull {self.image} to docker://example.org/mine:1 for user 0")
        self.root_does("Export", "(ssa{sv})", "docker://example.org/mine:1", f"oci:{self.directory}/out", {})
        self.logged(f"starts: export docker://example.org/mine:1 to oci:{self.directory}/out for user 0")
        self.root_does("Prune", "(a{sv})", {"dry-run": True})
        self.logged("starts: prune (a dry run: nothing goes) for user 0")
        self.root_does("Remove", "(asa{sv})", ["docker://example.org/mine:1"], {})
        self.logged("starts: remove docker://example.org/mine:1 for user 0")
        self.logged("removed docker://example.org/mine:1 for user 0")

    def test_the_outcome_says_what_verified_the_image(self):
        job = self.root.finished(self.root.start("Pull", self.image))
        self.assertEqual(job["Outcome"]["signature-policy"], "insecureAcceptAnything (default)")
        self.assertEqual(self.root.finished(self.root.start("Pull", self.image))["Outcome"]["signature-policy"], "insecureAcceptAnything (default)")

    def test_who_is_refused_is_told(self):
        user = self.caller(1)
        self.assert_refused("NotAuthorized", user.start, "Pull", "docker://open.example/a:b")
        self.logged("warning: refused: user 1 may not pull", "(docker://open.example/a:b)")
        self.assert_refused("NotAuthorized", user.start, "Pull", self.image)
        self.logged("warning: refused: user 1 may not pull " + self.image)
        self.allow("org.imaged1.pull", "org.imaged1.pull-unverified", "org.imaged1.store-as")
        self.assert_refused("NotAuthorized", user.start, "Pull", "docker://open.example/a:b", {"target": "docker://signed.example/a:b"})
        self.logged("warning: refused: user 1: may not store docker://open.example/a:b as docker://signed.example/a:b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
