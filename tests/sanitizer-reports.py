#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""No program that a test started made a sanitizer report anything, whoever started it and wherever its stderr went; and reports would be seen.

Comes last in a build with sanitizers. SANITIZER_REPORTS is where sanitizer-options.cpp has programs leave their reports.
"""
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import real_daemon

REPORTS = pathlib.Path(os.environ["SANITIZER_REPORTS"])
FAULT = os.environ["FAULT"]
FAULTS = {"thread": {"race": "data race"},
          "address,undefined": {"use-after-free": "heap-use-after-free", "leak": "detected memory leaks", "overflow": "signed integer overflow"}}

# UBSan looks at an object's vptr through a pipe. Without a descriptor left for one, as where a test takes them all, it takes every object for a wrong one.
# An object that truly is wrong is printed, or ASan stops at it.
WITHOUT_DESCRIPTORS = re.compile(r"^[^\n]*which does not point to an object of type[^\n]*\n[^\n]*note: object has invalid vptr\n"
                                 r"<memory cannot be printed>\n(?:    #\d+ [^\n]*\n)*\n*", re.MULTILINE)


def take_reports(program):
    """The reports of PROGRAM, which are gone afterwards."""
    paths = list(REPORTS.glob(f"report.{program}.*"))
    texts = [path.read_text(errors="replace") for path in paths]
    for path in paths:
        path.unlink()
    return "\n".join(texts)


class Reports(unittest.TestCase):
    def test_1_nothing_was_reported(self):
        self.assertTrue(REPORTS.is_dir(), "./dev sanitize makes it before the tests")
        reports = {path.name: WITHOUT_DESCRIPTORS.sub("", path.read_text(errors="replace")) for path in sorted(REPORTS.iterdir())}
        found = {name: report for name, report in reports.items() if report}
        for name, report in found.items():
            print(f"---- {name}\n{report[:20000]}")
        self.assertEqual(list(found), [])

    def test_2_a_fault_is_reported_without_any_environment(self):
        for fault, text in FAULTS[os.environ["SANITIZERS"]].items():
            with self.subTest(fault=fault):
                status = subprocess.run([FAULT, fault], env={}, stderr=subprocess.DEVNULL, timeout=60).returncode
                self.assertNotEqual(status, 0)
                self.assertIn(text, take_reports("sanitizer-fault"))

    def test_3_a_fault_of_imaged_s_worker_is_reported(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            repository = pathlib.Path(directory) / "repo"
            subprocess.run(["ostree", "init", f"--repo={repository}", "--mode=bare-user"], check=True)
            daemon = real_daemon.Daemon(directory, repository, worker=FAULT)
            try:
                client = daemon.client()
                job = client.finished(client.pull("oci:/nothing:t"), timeout=60)
                client.close()
            finally:
                daemon.stop()
            self.assertEqual(job["Result"], "failed", job)
            self.assertIn(next(iter(FAULTS[os.environ["SANITIZERS"]].values())), take_reports("sanitizer-fault"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
