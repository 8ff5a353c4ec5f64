#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What imaged counts for Prometheus: the file that it keeps, and what `imaged --metrics` makes of it."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from gi.repository import GLib

import bus_fixture
import chunked_layer
import oci_layout
import ostree_repository
import real_daemon
import registry
import skopeo_service
from bus_fixture import MANAGER
from oci_layout import Entry
from repository_case import ScratchCase

LINE = re.compile(r'([a-z_]+)(?:\{([a-z_]+="[^"\\\n]*"(?:,[a-z_]+="[^"\\\n]*")*)\})? (\S+)')


def parsed(text):
    """Values by name and labels. Every family has its HELP and TYPE before it, counters end in _total, no series is there twice."""
    values, described = {}, {}
    for line in text.splitlines():
        if line.startswith("#"):
            _, what, name, rest = line.split(" ", 3)
            assert what in ("HELP", "TYPE") and rest, line
            described.setdefault(name, {})[what] = rest
            continue
        name, labels, value = LINE.fullmatch(line).groups()
        assert set(described[name]) == {"HELP", "TYPE"} and described[name]["TYPE"] == ("counter" if name.endswith("_total") else "gauge"), line
        key = (name, *sorted(labels.replace('"', "").split(",") if labels else ()))
        assert key not in values, line
        values[key] = float(value)
    return values


class Case(ScratchCase):
    worker = real_daemon.WORKER
    options, environment = (), {}
    scratch_directory = tempfile.TemporaryDirectory  # one of its repositories is damaged

    def prepare(self):
        """What the daemon needs before it starts."""

    def setUp(self):
        super().setUp()
        self.repository = self.directory / "repo"
        ostree_repository.init(self.repository)
        self.file = self.directory / "run/metrics"
        self.file.parent.mkdir()
        self.prepare()
        self.daemon = real_daemon.Daemon(self.directory, self.repository, environment={"RUNTIME_DIRECTORY": str(self.file.parent), **self.environment}, worker=self.worker,
                                         options=self.options)
        self.addCleanup(self.daemon.stop)
        self.client = self.daemon.client()
        self.addCleanup(self.client.close)

    def text(self):
        return subprocess.run([bus_fixture.IMAGED, "--metrics", self.file], capture_output=True, text=True, check=True).stdout

    def metrics(self):
        return parsed(self.text())

    def eventually(self, **wanted):
        """The metrics, once each of WANTED is there: imaged_NAME → value. The file may be half a second behind."""
        end = time.monotonic() + 20
        while True:
            found = self.metrics()
            if all(found.get((f"imaged_{name}",)) == value for name, value in wanted.items()):
                return found
            self.assertLess(time.monotonic(), end, (wanted, found))
            time.sleep(0.05)

    def ended(self, kind, result="success", error="", metrics=None):
        return (metrics or self.metrics()).get(("imaged_jobs_total", f"error={error}", f"kind={kind}", f"result={result}"), 0)


class Real(Case):
    def job(self, method, *arguments):
        job, _ = self.client.call(MANAGER, method, GLib.Variant(*arguments))
        return self.client.finished(job, timeout=60)

    def test_what_jobs_did_and_what_is_stored(self):
        layout = oci_layout.Layout(self.directory / "layout")
        shared = oci_layout.layer([Entry("usr/a", content=os.urandom(50_000))])
        layout.image("a", [shared])
        layout.image("b", [shared, oci_layout.layer([Entry("usr/b", content=b"b")])])
        one, other = ("ostree-unverified-image:" + layout.reference(tag) for tag in "ab")
        self.eventually(up=1, images=0)
        outcomes = [self.client.finished(self.client.pull(image), timeout=60)["Outcome"] for image in (one, other, other)]
        found = self.eventually(images=2, updates_waiting=0, images_damaged=0)
        found = self.eventually(fetched_bytes_total=sum(outcome["bytes-fetched"] for outcome in outcomes),
                                reused_bytes_total=sum(outcome["bytes-reused"] for outcome in outcomes))
        self.assertGreater(found["imaged_fetched_bytes_total",], 50_000)
        self.assertEqual(self.ended("pull", metrics=found), 3)
        phases = {key: value for key, value in found.items() if key[0] == "imaged_job_phase_seconds_total"}
        self.assertIn(("imaged_job_phase_seconds_total", "kind=pull", "phase=fetch"), phases)
        self.assertTrue(0 < sum(phases.values()) < 60, phases)
        self.assertEqual({key[2] for key in phases} - {f"phase={name}" for name in ("waiting", "manifest", "fetch", "merge", "commit")}, set())
        # Failures by the name of the error; nothing else changes.
        self.client.finished(self.client.pull(one + "x"), timeout=60)
        self.eventually(images=2)
        deadline = time.monotonic() + 20
        while not any(key[0] == "imaged_jobs_total" and "result=failed" in key for key in self.metrics()):
            self.assertLess(time.monotonic(), deadline)
        failed = [key for key in self.metrics() if key[0] == "imaged_jobs_total" and "result=failed" in key]
        self.assertEqual(failed, [("imaged_jobs_total", "error=NotFound", "kind=pull", "result=failed")], self.text())
        # What a failed job fetched counts.
        layout.image("damaged", [(damaged := oci_layout.layer([Entry("usr/c", content=os.urandom(50_000))], None))])
        layout.blob_path(oci_layout.digest(damaged.data)).write_bytes(damaged.data[:-1] + b"\1")
        self.assertEqual(self.client.finished(self.client.pull("ostree-unverified-image:" + layout.reference("damaged")), timeout=60)["Result"], "failed")
        self.eventually(images=2, fetched_bytes_total=found["imaged_fetched_bytes_total",] + len(damaged.data))
        # An update, seen and pulled.
        self.assertNotIn(("imaged_last_check_timestamp_seconds",), found)
        before = int(time.time())
        layout.image("a", [oci_layout.layer([Entry("usr/a", content=b"new")])])
        self.job("Check", "(sa{sv})", (one, {}))
        found = self.eventually(updates_waiting=1)
        self.assertGreaterEqual(found["imaged_last_check_timestamp_seconds",], before)
        self.client.finished(self.client.pull(one), timeout=60)
        self.eventually(updates_waiting=0, images=2)
        usage = self.job("DiskUsage", "(a{sv})", ({},))["Outcome"]
        self.assertGreater(usage["disk-size"], 50_000)
        found = self.eventually(repository_bytes=usage["disk-size"], repository_prunable_bytes=usage["prunable-size"])
        self.assertIn(("imaged_job_phase_seconds_total", "kind=disk-usage", "phase=count"), found)
        # Damage that a verification found, and its end.
        (victim,) = [path for path in self.repository.glob("objects/*/*.file") if path.read_bytes() == b"b"]
        victim.unlink()
        self.job("Verify", "(asa{sv})", ([], {}))
        self.eventually(images_damaged=1, images=2)
        self.job("Remove", "(asa{sv})", ([layout.reference("b")], {}))
        self.eventually(images_damaged=0, images=1)
        # A repair fetches as well.
        (victim,) = [path for path in self.repository.glob("objects/*/*.file") if path.read_bytes() == b"new"]
        victim.unlink()
        fetched = self.metrics()["imaged_fetched_bytes_total",]
        repaired = self.job("Verify", "(asa{sv})", ([], {"repair": GLib.Variant("b", True)}))["Outcome"]
        self.assertEqual((repaired["bytes-fetched"], repaired["sound"]), (repaired["repaired"][0]["bytes-fetched"], True))
        self.assertGreater(repaired["bytes-fetched"], 0)
        self.eventually(images_damaged=0, fetched_bytes_total=fetched + repaired["bytes-fetched"])

    def test_numbers_outlive_the_daemon_and_its_death(self):
        layout = oci_layout.Layout(self.directory / "layout")
        layout.image("a", [oci_layout.layer([Entry("usr/a", content=b"a")])])
        self.client.finished(self.client.pull("ostree-unverified-image:" + layout.reference("a")), timeout=60)
        self.eventually(images=1)
        self.daemon.process.terminate()
        self.daemon.process.wait(20)
        found = self.metrics()
        self.assertEqual((found["imaged_up",], found["imaged_images",], self.ended("pull", metrics=found)), (0, 1, 1))
        self.daemon.start()
        client = self.daemon.client()
        self.addCleanup(client.close)
        client.finished(client.pull("ostree-unverified-image:" + layout.reference("a")), timeout=60)
        self.eventually(up=1, images=1)
        deadline = time.monotonic() + 20
        while self.ended("pull") != 2:
            self.assertLess(time.monotonic(), deadline)
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.process.wait(20)
        found = self.metrics()
        self.assertEqual((found["imaged_up",], self.ended("pull", metrics=found)), (0, 2))

    def test_numbers_that_nobody_takes_are_an_error(self):
        with open("/dev/full", "wb") as full:
            run = subprocess.run([bus_fixture.IMAGED, "--metrics", self.file], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertIn("No space left", run.stderr)

    def test_a_file_that_is_not_there_or_is_nonsense(self):
        self.daemon.process.terminate()
        self.daemon.process.wait(20)
        for content in (None, b"", b"\xff\0 nonsense 1\nimaged_images nan nan\nother 3\nimaged_fetched_bytes_total 7", b"x" * 2_000_000):
            self.file.unlink(missing_ok=True)
            if content is not None:
                self.file.write_bytes(content)
            run = subprocess.run([bus_fixture.IMAGED, "--metrics", self.file], capture_output=True, text=True)
            if content is not None and len(content) > 1_000_000:
                self.assertEqual((run.returncode, run.stdout), (1, ""))
                self.assertIn(str(self.file), run.stderr)
            else:
                found = parsed(run.stdout)
                self.assertEqual((found["imaged_up",], found.get(("imaged_fetched_bytes_total",), 7)), (0, 7), run)
            # The daemon starts all the same, and counts from the beginning or from what it could read.
            self.daemon.start()
            self.eventually(up=1, images=0)
            self.daemon.process.terminate()
            self.daemon.process.wait(20)

    def test_the_examples_ask_for_what_there_is(self):
        known = {line.split(" ")[2] for line in self.text().splitlines() if line.startswith("# TYPE")}
        examples = pathlib.Path(os.environ["SOURCE_ROOT"]) / "docs/examples"
        for name in ("imaged-alerts.yml", "imaged-dashboard.json"):
            asked = set(re.findall(r"\bimaged_\w+", (examples / name).read_text(encoding="utf-8")))
            self.assertTrue(asked and asked <= known, asked - known)
        panels = json.loads((examples / "imaged-dashboard.json").read_text(encoding="utf-8"))["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        guide = (examples.parent / "administration.md").read_text(encoding="utf-8")
        self.assertEqual([name for name in known if f"`{name}" not in guide], [])

    @unittest.skipUnless(shutil.which("promtool"), "needs promtool, of Debian's package prometheus")
    def test_promtool_finds_nothing_to_say(self):
        layout = oci_layout.Layout(self.directory / "layout")
        layout.image("a", [oci_layout.layer([Entry("usr/a", content=b"a")])])
        for tag in ("a", "missing"):
            self.client.finished(self.client.pull("ostree-unverified-image:" + layout.reference(tag)), timeout=60)
        self.eventually(images=1)
        run = subprocess.run(["promtool", "check", "metrics"], input=self.text(), capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))
        rules = pathlib.Path(os.environ["SOURCE_ROOT"]) / "docs/examples/imaged-alerts.yml"
        subprocess.run(["promtool", "check", "rules", rules], capture_output=True, check=True)


class Chunked(Case):
    def prepare(self):
        self.directory.chmod(0o755)
        self.registry = registry.Registry(self.directory / "registry")
        self.addCleanup(self.registry.stop)
        service = skopeo_service.as_unit(self)
        self.environment = {"CONTAINERS_REGISTRIES_CONF": str(self.registry.configuration)}
        self.options = ["--proxy-socket", service.path, "--pass-environment", "CONTAINERS_REGISTRIES_CONF"]

    def test_what_chunks_save(self):
        layout = oci_layout.Layout(self.directory / "layout")
        image = f"ostree-unverified-image:docker://{self.registry.address}/test/image:t"
        outcomes = []
        kept = [Entry(f"usr/kept{number}", content=os.urandom(400_000)) for number in range(4)]
        for number in range(2):
            layout.image("t", [chunked_layer.layer([*kept, Entry("usr/new", content=os.urandom(20_000))])])
            self.registry.push(layout.reference("t"), "test/image:t")
            ended = self.client.finished(self.client.pull(image), timeout=60)
            self.assertEqual((ended["Result"], ended["ErrorMessage"]), ("success", ""))
            outcomes.append(ended["Outcome"])
        self.assertEqual([outcome["layers-partial"] for outcome in outcomes], [0, 1], outcomes)
        self.assertEqual([outcome["bytes-saved"] > 1_500_000 for outcome in outcomes], [False, True])
        self.eventually(saved_bytes_total=outcomes[1]["bytes-saved"], reused_bytes_total=outcomes[1]["bytes-reused"],
                        fetched_bytes_total=sum(outcome["bytes-fetched"] for outcome in outcomes))


class Scripted(Case):
    worker = bus_fixture.WORKER

    def test_jobs_that_run_and_wait_and_a_worker_that_says_anything(self):
        image = f"oci:{self.directory}/"
        jobs = [self.client.pull(f"{image}wait,{number}") for number in range(3)]
        self.client.running(jobs[0])
        deadline = time.monotonic() + 20
        while True:
            found = self.metrics()
            states = [found.get(("imaged_jobs", f"state={state}")) for state in ("running", "waiting")]
            if states == [1, 2]:
                break
            self.assertLess(time.monotonic(), deadline, self.text())
        self.daemon.process.send_signal(signal.SIGSTOP)  # it is there, and nobody waits for it
        self.assertEqual([self.metrics()["imaged_jobs", f"state={state}"] for state in ("running", "waiting")], [1, 2])
        self.daemon.process.send_signal(signal.SIGCONT)
        (self.directory / "release").touch()
        for job in jobs:
            self.client.finished(job, timeout=60)
        found = self.eventually(images=3)
        self.assertEqual([found["imaged_jobs", f"state={state}"] for state in ("running", "waiting")], [0, 0])
        self.assertEqual(self.ended("pull", metrics=found), 3)
        for number in range(30):
            self.client.finished(self.client.pull(f"{image}babble,{number}"), timeout=60)
        deadline = time.monotonic() + 20
        while self.ended("pull", "failed", "Failed") != 30:
            self.assertLess(time.monotonic(), deadline, self.text())
        series = [key for key in self.metrics() if key[0] in ("imaged_jobs_total", "imaged_job_phase_seconds_total")]
        self.assertIn(("imaged_job_phase_seconds_total", "kind=pull", "phase=other"), series)
        self.assertLess(len(series), 10, series)


if __name__ == "__main__":
    unittest.main(verbosity=2)
