#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An image proxy that goes wrong at each point of its protocol: one error, in bounded time, the repository as it was, and imaged goes on serving."""
import concurrent.futures
import json
import os
import pathlib
import ostree_repository
import queue
import subprocess
import sys
import time
import unittest

import agreement
import oci_layout
import real_daemon
from bus_fixture import ERROR
from oci_layout import Entry
from sanitizers import SANITIZED

SCRIPTED = pathlib.Path(__file__).resolve().parent / "scripted-skopeo.py"
FAULTS = json.loads(subprocess.run([SCRIPTED, "list"], check=True, capture_output=True, env={"SCRIPTED_LAYOUT": "/"}).stdout)
ANSWERS = ["Initialize", "OpenImage", "GetManifest", "FinishPipe-manifest", "GetBlob-config", "FinishPipe-config", "GetBlob-layer", "FinishPipe-layer"]
PIPES = ["GetManifest", "GetBlob-config", "GetBlob-layer"]
# Each has a repository and a daemon of its own: the faults are mostly waited for.
DAEMONS = 4
# The scripted proxy is Python, which is slow to start beside programs that are slow themselves.
STALL_SECONDS = 6 if SANITIZED else 2
CONFIGURATION = f"[Daemon]\nPassEnvironment=SCRIPTED_LAYOUT SCRIPTED_FAULT\n[Pull]\nStallSec={STALL_SECONDS}\nRetries=0\n"
MAX_SECONDS = 15 * STALL_SECONDS  # far more than the slowest takes on an idle machine: four stall times and a little
# What does not harm: a value that nobody reads.
HARMLESS = {f"{step}:value_of_another_type" for step in ("FinishPipe-manifest", "FinishPipe-config", "FinishPipe-layer", "GetBlob-config", "GetBlob-layer")}
UNREACHABLE, FAILED = "SourceUnreachable", "Failed"
ERRORS = {"early_exit": UNREACHABLE, "crash": UNREACHABLE, "half_closed": UNREACHABLE, "nothing": UNREACHABLE, "no_answer": UNREACHABLE, "stalled": UNREACHABLE,
          "dripping": UNREACHABLE}
# What else may be wrong with an answer; and with data, where the verdict of this proxy is always good, so that the own checks are what finds it.
BROKEN = {FAILED, UNREACHABLE}
BROKEN_DATA = {"CorruptInput", "DigestMismatch", "UnsupportedImage", UNREACHABLE}


class Attempts:
    """A daemon whose skopeo is the scripted one, and what becomes of pulls."""

    def __init__(self, directory, layout, configuration=CONFIGURATION):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir()
        (self.directory / "bin").mkdir()
        (self.directory / "bin/skopeo").symlink_to(SCRIPTED)
        self.repository, self.fault = self.directory / "repo", self.directory / "fault"
        self.fault.touch()
        ostree_repository.init(self.repository)
        self.daemon = real_daemon.Daemon(self.directory, self.repository, configuration,
                                         {"PATH": f"{self.directory}/bin:{os.environ['PATH']}", "SCRIPTED_LAYOUT": str(layout.path), "SCRIPTED_FAULT": str(self.fault)})
        self.client = self.daemon.client()

    def stop(self):
        self.client.close()
        self.daemon.stop()

    def pull(self, fault):
        """Properties of the finished job, and how long it took; the daemon is asked while the job runs."""
        self.fault.write_text(fault)
        started = time.monotonic()
        job = self.client.pull("docker://127.0.0.1/x:t")
        self.served = self.daemon.serves(self.client)
        properties = self.client.finished(job, timeout=MAX_SECONDS)
        return properties, time.monotonic() - started

    def refs(self):
        return "\n".join(ostree_repository.refs(self.repository))

    def check(self, fault):
        """What is not as it must be after a pull with FAULT."""
        properties, seconds = self.pull(fault)
        got, message = properties["ErrorName"].removeprefix(ERROR), properties["ErrorMessage"]
        name, problems = fault.partition(":")[2], []
        if fault in HARMLESS:
            if got:
                problems.append(f"{got} although nothing is wrong")
            else:
                # Its objects too: as long as a commit that imaged verified is there, it serves without a ref, and the layer is not asked for.
                for words in (["refs", "--delete", *self.refs().split()], ["prune", "--refs-only"]):
                    subprocess.run(["ostree", f"--repo={self.repository}", *words], check=True, stdout=subprocess.DEVNULL)
        else:
            expected = {ERRORS[name]} if name in ERRORS else BROKEN_DATA if name in FAULTS["data"] else BROKEN
            # A manifest that is not the one that was told of is the proxy's fault: it says the digest itself.
            if fault.startswith("GetManifest:"):
                expected = expected | {FAILED}
            if got not in expected:
                problems.append(f"{got or 'success'} instead of {' or '.join(sorted(expected))}")
            if not message:
                problems.append("no message")
            if self.refs():
                problems.append("refs: " + self.refs())
        left = [name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")]
        if left:
            problems.append(f"left behind: {left}")
        if not self.served or not self.daemon.serves(self.client):
            problems.append("the daemon does not answer")
        return fault, f"{got or 'success'} after {seconds:.1f} s: {message}", problems


class FaultyProxy(unittest.TestCase):
    def setUp(self):
        scratch = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.directory.chmod(0o755)
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.layout.image("t", [oci_layout.layer([Entry("opt/file", content=b"content " * 500)])])

    def attempts(self, name, **options):
        attempts = Attempts(self.directory / name, self.layout, **options)
        self.addCleanup(attempts.stop)
        return attempts

    def test_every_fault_ends_in_an_error(self):
        faults = [f"{step}:{fault}" for step in ANSWERS for fault in FAULTS["answers"]] + [f"{step}:{fault}" for step in PIPES for fault in FAULTS["data"]]
        daemons, free = [self.attempts(f"daemon{number}") for number in range(DAEMONS)], queue.SimpleQueue()
        for attempts in daemons:
            free.put(attempts)

        def check(fault):
            attempts = free.get()
            try:
                return attempts.check(fault)
            finally:
                free.put(attempts)
        with concurrent.futures.ThreadPoolExecutor(DAEMONS) as pool:
            results = list(pool.map(check, faults))
        for fault, text, problems in results:
            if problems or os.environ.get("VERBOSE"):
                print(f"{fault}: {text}", *problems, sep="\n    ")
        print(f"{len(results)} faults of the proxy")
        self.assertEqual([], [(fault, problems) for fault, _, problems in results if problems])
        for attempts in daemons:
            # In the same life of the daemon, and into the same repository.
            properties, _ = attempts.pull("")
            self.assertEqual(properties["Result"], "success", properties["ErrorMessage"])
            subprocess.run(["ostree", f"--repo={attempts.repository}", "fsck", "--quiet"], check=True, stdout=subprocess.DEVNULL)

    def test_a_proxy_that_died_is_started_again(self):
        attempts = self.attempts("daemon", configuration=CONFIGURATION.replace("Retries=0", "Retries=1"))
        properties, seconds = attempts.pull("OpenImage:early_exit")
        self.assertEqual(properties["ErrorName"], ERROR + UNREACHABLE)
        self.assertGreater(seconds, 0.9, "it is tried again after a second")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
