#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Other programs commit to and prune the same repository while imaged pulls: locks are honoured, and nothing is lost on either side."""
import collections
import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import unittest

import golden
import oci_layout
import worker
from oci_layout import Entry
from repository_case import RepositoryCase

ROUNDS = int(os.environ.get("ROUNDS", "8"))
LOCK_SECONDS = 2
OSTREE_EXT = shutil.which("ostree-ext-cli")


class ConcurrentWriters(RepositoryCase):
    def setUp(self):
        super().setUp()
        self.ostree("config", "set", "core.lock-timeout-secs", LOCK_SECONDS)

    def image(self, tag):
        entries = [[Entry(f"usr/{tag}/l{number}/f{n}", content=os.urandom(3000)) for n in range(150)] for number in range(3)]
        self.layout.image(tag, [oci_layout.layer(layer) for layer in entries])
        return "ostree-unverified-image:" + self.layout.reference(tag)

    def lock(self, kind):
        # Of the kind that libostree takes: flock(2) would not be seen.
        file = open(self.repository / ".lock", "a+")
        self.addCleanup(file.close)
        fcntl.lockf(file, kind)
        return file

    def test_an_exclusive_lock_is_waited_for_and_then_told(self):
        reference = self.image("t")
        lock = self.lock(fcntl.LOCK_EX)
        started = time.monotonic()
        result = worker.pull(reference, self.repository).result
        seconds = time.monotonic() - started
        self.assertEqual(result["outcome"], "failed")
        self.assertIn("another program holds the lock", result["message"])
        self.assertGreater(seconds, LOCK_SECONDS * 0.8)
        self.assertLess(seconds, LOCK_SECONDS + 15)
        self.assertEqual(self.ostree("refs"), "")
        print(f"    {result['error-name']} after {seconds:.1f} s: {result['message']}")
        fcntl.lockf(lock, fcntl.LOCK_UN)
        self.assertEqual(worker.pull(reference, self.repository).result["outcome"], "success")

    def test_a_job_that_waits_for_a_lock_can_be_cancelled(self):
        self.ostree("config", "set", "core.lock-timeout-secs", "60")
        self.lock(fcntl.LOCK_EX)
        for kind in ("prune", "remove"):
            run = worker.Run("", self.repository, kind=kind, arguments={"images": ["oci:/x:t"]} if kind == "remove" else {})
            time.sleep(0.5)
            run.cancel()
            started = time.monotonic()
            self.assertEqual(run.finish().result["outcome"], "cancelled")
            self.assertLess(time.monotonic() - started, 10)

    def test_a_lock_that_is_given_back_in_time_only_takes_time(self):
        reference = self.image("t")
        lock = self.lock(fcntl.LOCK_EX)
        timer = threading.Timer(LOCK_SECONDS / 2, lambda: fcntl.lockf(lock, fcntl.LOCK_UN))
        timer.start()
        self.assertEqual(worker.pull(reference, self.repository).result["outcome"], "success")
        timer.join()

    def test_a_shared_lock_is_shared(self):
        self.lock(fcntl.LOCK_SH)
        started = time.monotonic()
        self.assertEqual(worker.pull(self.image("t"), self.repository).result["outcome"], "success")
        self.assertLess(time.monotonic() - started, LOCK_SECONDS + 15)

    def test_pulls_commits_and_prunes_at_once(self):
        self.ostree("config", "set", "core.lock-timeout-secs", "120")
        tree = self.directory / "tree"
        tree.mkdir()
        references = [self.image(f"t{number}") for number in range(ROUNDS)]
        ended, counts, failures = threading.Event(), {"commits": 0, "prunes": 0}, []

        def commit():
            while not ended.is_set():
                (tree / f"f{counts['commits'] % 20}").write_bytes(os.urandom(5000))
                try:
                    self.ostree("commit", f"--branch=other/{counts['commits'] % 3}", tree)
                    counts["commits"] += 1
                except subprocess.CalledProcessError as error:
                    failures.append("commit: " + error.stderr)

        def prune():
            while not ended.is_set():
                try:
                    self.ostree("prune", "--refs-only", "--depth=1")
                    counts["prunes"] += 1
                except subprocess.CalledProcessError as error:
                    failures.append("prune: " + error.stderr)
                time.sleep(0.05)

        others = [threading.Thread(target=commit), threading.Thread(target=prune)]
        for thread in others:
            thread.start()
        try:
            results = [worker.pull(reference, self.repository).result for reference in references]
        finally:
            ended.set()
            for thread in others:
                thread.join()
        self.assertEqual([result["message"] for result in results if result["outcome"] != "success"], [])
        self.assertEqual(failures, [])
        self.ostree("fsck", "--quiet")
        refs = self.ostree("refs").split()
        self.assertEqual(len([ref for ref in refs if ref.startswith("ostree/container/image/")]), ROUNDS)
        for ref in refs:
            self.ostree("ls", "-R", "-C", ref)
        self.assertGreater(min(counts.values()), 0)
        print(f"    {ROUNDS} pulls beside {counts['commits']} commits and {counts['prunes']} prunes by ostree")

    def damaged(self):
        result = worker.Run("", self.repository, kind="verify", arguments={"images": []}).finish().result
        self.assertEqual(result["outcome"], "success", result["message"])
        return result["details"]["damaged"]

    def beside_ostree_ext(self, work):
        """Pulls images while ostree-ext does WORK over and over, and looks at what is there in the end; WORK gets a function that runs it, and says what it did."""
        self.ostree("config", "set", "core.lock-timeout-secs", "120")
        references = [self.image(f"t{number}") for number in range(ROUNDS)]
        ended, counts, failures = threading.Event(), collections.Counter(), []

        def ostree_ext(*arguments):
            done = subprocess.run([OSTREE_EXT, "container", "image", *map(str, arguments)], capture_output=True, text=True, env={**os.environ, "RUST_BACKTRACE": "0"})
            counts[arguments[0]] += 1
            # libostree lists the temporary name of a ref that is just being written, tmp.XXXXXX; ostree-ext finds that gone, or no name of a layer.
            if done.returncode != 0 and not re.search(r"Listing refs: openat\(.*/tmp\.\w+\): No such file|Pruning image layers\s+Caused by:\s+Invalid character \.", done.stderr):
                failures.append(f"{arguments[0]}: {done.stderr.strip()}")

        def repeat():
            while not (ended.is_set() and counts):
                work(ostree_ext)

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            results = [worker.pull(reference, self.repository).result for reference in references]
        finally:
            ended.set()
            thread.join()
        print(f"    {ROUNDS} pulls beside ostree-ext's {dict(counts)}")
        self.assertEqual([result["message"] for result in results if result["outcome"] != "success"], [])
        self.assertEqual(failures, [])
        self.ostree("fsck", "--quiet")
        # Each side's images are whole, in the eyes of imaged and of ostree-ext. ostree-ext takes refs away without a lock: one that it found unused just before the
        # image had its name may be missing, and the next pull gives it back.
        damaged = self.damaged()
        self.assertLess(len(damaged), ROUNDS / 2, damaged)
        self.assertEqual({problem["kind"] for image in damaged for problem in image["problems"]} - {"ref"}, set())
        for reference in references if damaged else []:
            self.assertEqual(worker.pull(reference, self.repository).result["outcome"], "success")
        self.assertEqual(self.damaged(), [])
        listed = subprocess.run([OSTREE_EXT, "container", "image", "list", "--repo", self.repository], check=True, capture_output=True, text=True).stdout.split()
        self.assertGreaterEqual(set(listed), {reference.partition(":")[2] for reference in references})

    @unittest.skipUnless(OSTREE_EXT, "ostree-ext-cli is not installed")
    def test_pulls_beside_pulls_and_removals_of_ostree_ext(self):
        others = golden.unpack("oci.tar.gz", self.directory)

        def work(ostree_ext):
            for tag in ("base", "derived"):
                ostree_ext("pull", "--quiet", self.repository, f"ostree-unverified-image:oci:{others}:{tag}")
            ostree_ext("remove", "--repo", self.repository, f"oci:{others}:base", f"oci:{others}:derived")

        self.beside_ostree_ext(work)

    @unittest.skipUnless(OSTREE_EXT, "ostree-ext-cli is not installed")
    def test_pulls_beside_prunes_of_ostree_ext(self):
        """Which takes the refs of layers away whose image is still on its way."""
        self.beside_ostree_ext(lambda ostree_ext: ostree_ext("prune-layers", "--repo", self.repository))


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
