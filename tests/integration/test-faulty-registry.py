#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real registry behind one that goes wrong: the right error in bounded time, the repository as it was, and imaged goes on serving; where trying again
helps, it is tried again."""
import os
import pathlib
import subprocess
import sys
import time
import unittest

import agreement
import faulty_registry as faults
import oci_layout
import ostree_repository
import real_daemon
import registry
from bus_fixture import ERROR
from oci_layout import Entry

UNREACHABLE, DENIED, NOT_FOUND, MISMATCH, CORRUPT, FAILED = "SourceUnreachable", "SourceDenied", "NotFound", "DigestMismatch", "CorruptInput", "Failed"
PING, MANIFEST, BLOB, ANY = "/v2/$", "/manifests/", "/blobs/", "/v2/"
STALL = 2  # seconds
MAX_SECONDS = 90  # skopeo itself tries again on 429, from two seconds on, up to five times


class FaultyRegistry(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        layout = oci_layout.Layout(cls.directory / "layout")
        cls.layers = [oci_layout.layer([Entry(f"opt/file{number}", content=os.urandom(30000))]) for number in range(2)]
        layout.image("t", cls.layers)
        cls.right = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.right.stop)
        cls.digest = cls.right.push(layout.reference("t"), "test/image:t")
        cls.front = faults.FaultyRegistry(cls.right.address)
        cls.addClassCleanup(cls.front.stop)
        (cls.directory / "registries.conf").write_text(f'[[registry]]\nlocation = "{cls.front.address}"\ninsecure = true\n')
        cls.directory.chmod(0o755)
        cls.repository = cls.directory / "repo"
        ostree_repository.init(cls.repository)
        # Two daemons of one repository, never at work at once: one gives up at once, one tries again.
        cls.once, cls.again = cls.start("once", retries=0), cls.start("again", retries=3)

    @classmethod
    def start(cls, name, retries):
        directory = cls.directory / name
        directory.mkdir()
        daemon = real_daemon.Daemon(directory, cls.repository, f"[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF\n[Pull]\nStallSec={STALL}\nRetries={retries}\n",
                                    {"CONTAINERS_REGISTRIES_CONF": str(cls.directory / "registries.conf")})
        cls.addClassCleanup(daemon.stop)
        return daemon

    def setUp(self):
        self.front.fault = None
        self.front.requests.clear()
        self.forget()

    def forget(self):
        """As if nothing had ever been pulled."""
        refs = self.refs().split()
        if refs:
            subprocess.run(["ostree", f"--repo={self.repository}", "refs", "--delete", *refs], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["ostree", f"--repo={self.repository}", "prune", "--refs-only"], check=True, stdout=subprocess.DEVNULL)

    def pull(self, daemon=None):
        """The finished job."""
        daemon = daemon or self.once
        client = daemon.client()
        started = time.monotonic()
        job = client.pull(f"ostree-unverified-registry:{self.front.address}/test/image:t")
        self.assertTrue(daemon.serves(client), "it does not answer while the job runs")
        properties = client.finished(job, timeout=MAX_SECONDS)
        self.seconds = time.monotonic() - started
        self.assertTrue(daemon.serves(client), "it does not answer afterwards")
        client.close()
        return properties

    def refs(self):
        return "\n".join(ostree_repository.refs(self.repository))

    def assert_succeeds(self, daemon=None):
        job = self.pull(daemon)
        self.assertEqual(job["Result"], "success", job["ErrorMessage"])
        self.assertEqual(job["Outcome"]["digest"], self.digest)
        return job

    def assert_fails(self, where, fault, *errors, text=""):
        self.front.fault = (where, fault, None)
        job = self.pull()
        self.assertIn(job["ErrorName"].removeprefix(ERROR), errors, job["ErrorMessage"])
        self.assertIn(text, job["ErrorMessage"])
        self.assertNotIn("ostree/container/image/", self.refs())
        self.assertEqual([], [name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")])
        print(f"    {job['ErrorName']} after {self.seconds:.1f} s: {job['ErrorMessage'][:200]}")
        # Nothing that is left hinders.
        self.front.fault = None
        self.assert_succeeds()
        subprocess.run(["ostree", f"--repo={self.repository}", "fsck", "--quiet"], check=True, stdout=subprocess.DEVNULL)

    def assert_recovers(self, where, fault, times=1):
        self.front.fault = (where, fault, times)
        self.assert_succeeds(self.again)
        self.assertIsNone(self.front.fault, "the fault did not happen")

    def test_no_fault(self):
        self.assert_succeeds()

    def test_slow_answers_are_still_answers(self):
        self.front.fault = (ANY, lambda handler: (time.sleep(0.3), faults.send(handler)), None)
        self.assert_succeeds()

    def test_what_is_wrong_with_the_first_answer_does_no_harm(self):
        """Whether the registry is there is all that it tells; an image that needs no credentials is fetched without."""
        for fault in (faults.status(401), faults.reset):
            self.front.fault = (PING, fault, None)
            self.assert_succeeds()

    def test_it_recovers_from_one_of_each(self):
        for where in (MANIFEST, self.layers[1].digest):
            for fault in (faults.status(500), faults.status(503), faults.status(500, b""), faults.reset, faults.truncated, faults.stalled, faults.silent, faults.cut_off):
                with self.subTest(where=where, fault=fault.__name__):
                    self.forget()
                    self.assert_recovers(where, fault)

    def test_a_check_is_tried_again(self):
        image = f"ostree-unverified-registry:{self.front.address}/test/image:t"
        self.assert_succeeds()
        for daemon, result in ((self.once, "failed"), (self.again, "success")):
            with self.subTest(result=result):
                self.front.fault = (MANIFEST, faults.status(503), 1)
                client = daemon.client()
                checked = client.finished(client.start("Check", image)[0], timeout=MAX_SECONDS)
                client.close()
                self.assertEqual(checked["Result"], result, checked)

    def test_layers_that_were_done_are_not_fetched_again(self):
        self.front.fault = (self.layers[1].digest, faults.truncated, None)
        self.assertEqual(self.pull()["ErrorName"], ERROR + UNREACHABLE)
        self.front.fault = None
        self.front.requests.clear()
        self.assert_succeeds()
        self.assertEqual([path for path in self.front.requests if self.layers[0].digest in path], [])


def specify(name, *arguments, **keywords):
    setattr(FaultyRegistry, "test_" + name, lambda self: self.assert_fails(*arguments, **keywords))


for place, where in (("ping", PING), ("manifest", MANIFEST), ("blob", BLOB)):
    specify(f"{place}_stalls", where, faults.silent, UNREACHABLE, text="stalled")
    specify(f"{place}_is_cut_off", where, faults.cut_off, UNREACHABLE)
    specify(f"{place}_is_not_http", where, faults.not_http, UNREACHABLE)
    specify(f"{place}_gives_500", where, faults.status(500), UNREACHABLE)
    specify(f"{place}_gives_503", where, faults.status(503), UNREACHABLE)
for place, where in (("manifest", MANIFEST), ("blob", BLOB)):
    specify(f"{place}_is_reset", where, faults.reset, UNREACHABLE)
    specify(f"{place}_stalls_half_way", where, faults.stalled, UNREACHABLE, text="stalled")
    specify(f"{place}_drips", where, faults.dripping, UNREACHABLE)
    specify(f"{place}_gives_401", where, faults.status(401), DENIED)
    specify(f"{place}_gives_403", where, faults.status(403), DENIED)
    specify(f"{place}_gives_403_without_a_word", where, faults.status(403, b""), DENIED)
    specify(f"{place}_gives_404", where, faults.status(404), NOT_FOUND)
    specify(f"{place}_gives_404_without_a_word", where, faults.status(404, b""), NOT_FOUND)
    specify(f"{place}_gives_429", where, faults.status(429, Retry_After="1"), UNREACHABLE)
    specify(f"{place}_is_another", where, faults.other, MISMATCH, CORRUPT)
    specify(f"{place}_is_truncated", where, faults.truncated, UNREACHABLE)
    specify(f"{place}_is_shorter", where, faults.shorter, MISMATCH, CORRUPT)
    specify(f"{place}_is_longer", where, faults.longer, MISMATCH, CORRUPT)
    specify(f"{place}_redirects_for_ever", where, faults.redirected_for_ever, FAILED)

if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
