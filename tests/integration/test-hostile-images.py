#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile images: each ends in its own error or, where it only looks hostile, inside the repository and nowhere else; within bounds of time and memory.

--only WORDS runs the cases whose names contain WORDS; --long adds the heavy ones (minutes, gigabytes of disk).
"""
import concurrent.futures
import os
import pathlib
import subprocess
import time
import unittest

import agreement
import hostile_commits
import hostile_documents
import hostile_heavy
import hostile_layers
import oci_layout
import ostree_repository
import run_options
import sanitizers
import worker
from run_options import OPTIONS

ESCAPE = hostile_layers.ESCAPE
MAX_SECONDS = 60      # of one image; a thousandth of that on an idle machine
MAX_RSS_KIB = 400 << 10
JOBS = 2
STRICT = {"G_DEBUG": "fatal-criticals"}  # what GLib calls a programming error ends the process


def described():
    """(name, function that puts tag t into a layout, outcome, text) of every case."""
    for name, layers, outcome, text in hostile_layers.all_cases():
        yield name, lambda layout, layers=layers: layout.image("t", layers), outcome, text
    for case in hostile_documents.all_cases():
        yield case.name, case.build, case.outcome, case.text
    for name, layers, config, outcome, text in hostile_commits.all_cases():
        yield name, lambda layout, layers=layers, config=config: layout.image("t", layers, config=config), outcome, text
    if OPTIONS.long:
        yield from hostile_heavy.all_cases()


class HostileImages(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        scratch = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.repository = self.directory / "repo"
        ostree_repository.init(self.repository)

    def ostree(self, *arguments):
        return subprocess.run(["ostree", f"--repo={self.repository}", *arguments], check=True, capture_output=True, text=True).stdout

    def run_case(self, number, case):
        name, build, outcome, text = case
        outcomes = (outcome,) if isinstance(outcome, str) else outcome
        layout = oci_layout.Layout(self.directory / f"layout{number}")
        build(layout)
        started = time.monotonic()
        run = worker.pull("ostree-unverified-image:" + layout.reference("t"), self.repository, cwd=self.directory, env=STRICT)
        seconds = time.monotonic() - started
        subprocess.run(["rm", "-rf", layout.path], check=True)
        got = run.result["error-name"] or run.result["outcome"]
        problems = []
        if got not in outcomes:
            problems.append(f"{got} instead of {' or '.join(outcomes)}")
        if text not in run.result["message"]:
            problems.append(f"{text!r} is not in the message")
        if run.status != 0:
            problems.append(f"the worker ended with {run.status}")
        if seconds > MAX_SECONDS * sanitizers.SLOWER * (20 if OPTIONS.long else 1):
            problems.append(f"{seconds:.0f} s")
        if run.rss > MAX_RSS_KIB and not sanitizers.SANITIZED:
            problems.append(f"{run.rss >> 10} MiB of memory")
        return name, got, seconds, run.rss, problems, run.result["message"][:300]

    def test_each_ends_where_it_must(self):
        cases = [case for case in described() if OPTIONS.only in case[0]]
        names = [case[0] for case in cases]
        self.assertEqual(len(names), len(set(names)), "two cases have one name")
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            results = list(pool.map(self.run_case, range(len(cases)), cases))
        for name, got, seconds, rss, problems, message in results:
            if os.environ.get("VERBOSE") or problems:
                print(f"{name}: {got}, {seconds:.1f} s, {rss >> 10} MiB: {message}", *problems, sep="\n    ")
        slowest, largest = max(results, key=lambda result: result[2]), max(results, key=lambda result: result[3])
        print(f"{len(results)} images; slowest {slowest[2]:.1f} s ({slowest[0]}), most memory {largest[3] >> 10} MiB ({largest[0]})")
        self.assertEqual([], [(name, problems) for name, _, _, _, problems, _ in results if problems])
        self.assert_nothing_escaped()
        self.assert_repository_is_sound({name for name, got, *_ in results if got == "success"})

    def assert_nothing_escaped(self):
        outside = ["/", "/var/tmp", "/tmp", "/proc/1/cwd", "/etc", str(self.directory), str(self.directory.parent), str(self.repository), os.getcwd()]
        self.assertEqual([], [path for path in outside if os.path.lexists(f"{path}/{ESCAPE}")])
        self.assertEqual([], [str(path) for path in self.repository.rglob(ESCAPE)])
        self.assertIn("mode=bare\n", (self.repository / "config").read_text())

    def assert_repository_is_sound(self, imported):
        # What verify says, fsck and checkouts must say at the end (agreement.py).
        verified = worker.Run("", self.repository, kind="verify").finish().result
        self.assertTrue(verified["details"]["sound"], verified)
        images = self.ostree("refs", "--list", "ostree/container/image").split()
        self.assertEqual(len(images), len(imported))
        self.assertEqual([], [name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")])


if __name__ == "__main__":
    run_options.main(__doc__)
