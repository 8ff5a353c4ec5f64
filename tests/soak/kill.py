#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the worker, the daemon or the proxy at random instants of pulls, updates, copies, exports, removals and prunings, and looks at what is left.

./dev soak kill --rounds N --seed S. After each blow: fsck is clean, every ref is complete, no image is gone that was not to go; the next job of that kind clears what
was left behind, succeeds, and fetches no layer again that was done.
"""
import argparse
import collections
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from gi.repository import GLib

import rig
import real_daemon
from bus_fixture import MANAGER
from oci_layout import check_layout

PROGRAMS = {"worker": "imaged-worker", "proxy": "skopeo", "daemon": None}


class Work:
    """One kind of job: how it is started, and what must hold beside what always must."""
    victims = ("daemon", "worker")

    def __init__(self, soak):
        self.soak, self.repository, self.images = soak, soak.repository, soak.images

    def prepare(self, client):
        """What must be there for the job to have something to do."""

    def may_go(self):
        """Refs of images that the job takes away."""
        return set()

    def killed(self):
        """Problems after the blow."""
        return []

    def accepted(self, job):
        return job["Result"] == "success"

    def done(self, job, layers):
        """Problems after the job that was not disturbed; LAYERS: refs of layers that were there before it."""
        return []


class Pull(Work):
    victims = ("daemon", "worker", "proxy")

    def prepare(self, client):
        if self.soak.rng.random() < 0.8:
            self.images.change()

    def start(self, client):
        return client.pull(self.images.reference())

    def done(self, job, layers):
        wanted = {rig.LAYER_REF + blob.digest.replace(":", "_3A_") for blob in self.images.blobs}
        fetched, missing = job["Outcome"].get("layers-fetched", 0), len(wanted - layers)
        return [f"{fetched} layers fetched, {missing} were missing"] if fetched > missing else []


class Copy(Work):
    """Into a repository that has older images, or into one that is new."""

    def prepare(self, client):
        if self.soak.rng.random() < 0.3 or not hasattr(self, "other"):
            self.other = rig.Repository(self.soak.directory / f"other{self.soak.number}")
        self.before = self.other.images()

    def start(self, client):
        return client.call(MANAGER, "Copy", GLib.Variant("(ssa{sv})", (self.images.reference("t"), str(self.other.path), {})))[0]

    def killed(self):
        return ["copy: " + problem for problem in self.other.check(self.before)]

    def done(self, job, layers):
        problems = self.killed()
        if not self.other.images():
            problems.append("copy: the image is not there")
        return problems + ([f"copy: left in tmp: {self.other.leftovers()}"] if self.other.leftovers() else [])


class Export(Work):
    """Into one layout, whose image is replaced, or into an archive."""

    def prepare(self, client):
        self.archive = self.soak.rng.random() < 0.5
        self.place = self.soak.directory / ("out.tar" if self.archive else "out")
        self.place.unlink(missing_ok=True) if self.archive else None

    def start(self, client):
        self.place.unlink(missing_ok=True) if self.archive else None
        destination = f"oci-archive:{self.place}:t" if self.archive else f"oci:{self.place}:t"
        return client.call(MANAGER, "Export", GLib.Variant("(ssa{sv})", (self.images.reference("t"), destination, {})))[0]

    def killed(self):
        # What has its name is whole.
        named = self.place.exists() if self.archive else (self.place / "index.json").exists()
        return ["export: " + problem for problem in check_layout(self.place)] if named else []

    def done(self, job, layers):
        problems = ["export: " + problem for problem in check_layout(self.place)]
        left = [str(path) for path in self.soak.directory.glob("out*.imaged-*")] + [str(path) for path in self.soak.directory.glob("out/**/.*")]
        return problems + ([f"export: left: {left}"] if left else [])


class Remove(Work):
    def prepare(self, client):
        self.soak.finished(client, client.pull(self.images.reference("t")))

    def may_go(self):
        return {name for name in self.repository.images() if name.endswith("_3A_t")}

    def start(self, client):
        return client.call(MANAGER, "Remove", GLib.Variant("(asa{sv})", ([self.images.reference("t")], {})))[0]

    def accepted(self, job):
        return super().accepted(job) or job["ErrorName"].endswith(".NotFound")

    def done(self, job, layers):
        return ["the image is still there"] if self.may_go() else []


class Prune(Work):
    def prepare(self, client):
        # Something to prune: what only the version before had.
        self.images.change()
        self.soak.finished(client, client.pull(self.images.reference("t")))

    def start(self, client):
        return client.call(MANAGER, "Prune", GLib.Variant("(a{sv})", ({},)))[0]


class Soak:
    def __init__(self, directory, seed):
        self.directory, self.rng = pathlib.Path(directory), random.Random(seed)
        self.images = rig.Images(self.directory / "layout", seed)
        self.repository = rig.Repository(self.directory / "repo")
        self.daemon = rig.Daemon(self.directory, self.repository)
        self.number = 0
        self.works = [Pull(self), Pull(self), Copy(self), Export(self), Remove(self), Prune(self)]
        self.typical = collections.defaultdict(lambda: 0.5)  # seconds that a job of each kind takes when nobody interferes
        self.rounds, self.struck, self.in_time = collections.Counter(), collections.Counter(), 0
        client = self.daemon.client()
        self.finished(client, client.pull(self.images.reference("first")))
        self.images.change()
        self.finished(client, client.pull(self.images.reference("t")))
        client.close()

    @staticmethod
    def finished(client, job):
        return client.finished(job, timeout=120)

    def victim(self, target):
        if target == "daemon":
            return self.daemon.process.pid
        names = [pid for pid, name in rig.descendants(self.daemon.process.pid) if name == PROGRAMS[target][:15]]
        return names[0] if names else None

    def strike(self, target, delay):
        end = time.monotonic() + delay
        time.sleep(delay)
        pid = self.victim(target)
        while pid is None and time.monotonic() < end + 0.2:
            time.sleep(0.002)
            pid = self.victim(target)
        if pid is None or not rig.kill(pid):
            return False
        if target == "daemon":
            self.daemon.process.wait(20)
        return True

    def round(self, number):
        self.number = number
        work = self.rng.choice(self.works)
        kind, target = type(work).__name__.lower(), self.rng.choice(work.victims)
        client = self.daemon.client()
        work.prepare(client)
        before = set(self.repository.images()) - work.may_go()
        job = work.start(client)
        struck = self.strike(target, self.rng.uniform(0, self.typical[kind] * 1.1))
        self.rounds[kind] += 1
        self.struck[target] += struck
        problems = []
        if target == "daemon" and struck:
            client.close()
            # The worker goes with its daemon; until it has gone the repository is its.
            real_daemon.until(lambda: not self.workers())
            problems += self.repository.check(before) + work.killed()
            self.daemon.start()
            client = self.daemon.client()
        else:
            result = self.finished(client, job)
            self.in_time += result["Result"] != "success"
            problems += self.repository.check(before) + work.killed()
            if self.daemon.process.poll() is not None:
                problems.append("the daemon died with its worker")
        layers = {name for name in self.repository.refs() if name.startswith(rig.LAYER_REF)}
        started = time.monotonic()
        result = self.finished(client, work.start(client))
        self.typical[kind] = 0.8 * self.typical[kind] + 0.2 * (time.monotonic() - started)
        if not work.accepted(result):
            problems.append(f"the next job: {result['ErrorName']}: {result['ErrorMessage']}")
        else:
            problems += work.done(result, layers) + self.repository.check(before)
        if self.repository.leftovers():
            problems.append(f"left in tmp: {self.repository.leftovers()}")
        if kind == "remove":
            self.finished(client, client.pull(self.images.reference("t")))
        client.close()
        return f"{kind}, {target}", struck, problems

    def workers(self):
        return subprocess.run(["pgrep", "-f", f"^{rig.WORKER}$"], capture_output=True, text=True).stdout.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round after this time")
    arguments = parser.parse_args()
    failures, end = 0, time.monotonic() + arguments.minutes * 60
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="imaged-soak-") as directory:
        os.chmod(directory, 0o755)
        soak = Soak(directory, arguments.seed)
        try:
            for number in range(arguments.rounds):
                if time.monotonic() > end:
                    break
                what, struck, problems = soak.round(number)
                failures += bool(problems)
                if problems:
                    print(f"round {number}: {what} {'killed' if struck else 'missed'}", *problems, sep="\n    ", flush=True)
                elif (number + 1) % 25 == 0:
                    print(f"{number + 1} rounds, {failures} failures", flush=True)
        finally:
            soak.daemon.stop()

    def counted(counter):
        return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
    print(f"kill: {sum(soak.rounds.values())} rounds ({counted(soak.rounds)}), {failures} failures, seed {arguments.seed}; killed: {counted(soak.struck)}; "
          f"{soak.in_time} jobs failed of it")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
