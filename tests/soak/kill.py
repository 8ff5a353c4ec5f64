#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the worker, the daemon or the proxy at random instants of pulls and updates, and looks at what is left.

./dev soak kill --rounds N --seed S. After each blow: fsck is clean, every ref is complete, no image is gone; the next job clears what was left behind, succeeds, and
fetches no layer again that was done.
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

import rig

TARGETS = {"worker": "imaged-worker", "proxy": "skopeo", "daemon": None}


class Soak:
    def __init__(self, directory, seed):
        self.directory, self.rng = pathlib.Path(directory), random.Random(seed)
        self.images = rig.Images(self.directory / "layout", seed)
        self.repository = rig.Repository(self.directory / "repo")
        self.daemon = rig.Daemon(self.directory, self.repository)
        self.typical = 1.0  # seconds that a job takes when nobody interferes
        self.struck, self.in_time = collections.Counter(), 0

    def pull(self, client):
        return client.pull(self.images.reference())

    def wait(self, client, job):
        return client.finished(job, timeout=120)

    def victim(self, target):
        if target == "daemon":
            return self.daemon.process.pid
        names = [pid for pid, name in rig.descendants(self.daemon.process.pid) if name == TARGETS[target][:15]]
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
        problems = []
        before = self.repository.images()
        if number and self.rng.random() < 0.8:
            self.images.change()
        target = self.rng.choice(sorted(TARGETS))
        client = self.daemon.client()
        job = self.pull(client)
        struck = self.strike(target, self.rng.uniform(0, self.typical * 1.1))
        self.struck[target] += struck
        if target == "daemon" and struck:
            client.close()
            # The worker goes with its daemon; until it has gone the repository is its.
            rig.Daemon.until(lambda: not self.workers())
            problems += self.repository.check(before)
            self.daemon.start()
            client = self.daemon.client()
        else:
            result = self.wait(client, job)
            self.in_time += result["Result"] != "success"
            problems += self.repository.check(before)
            if self.daemon.process.poll() is not None:
                problems.append("the daemon died with its worker")
        done = {name for name in self.repository.refs() if name.startswith(rig.LAYER_REF)}
        started = time.monotonic()
        result = self.wait(client, self.pull(client))
        self.typical = 0.8 * self.typical + 0.2 * (time.monotonic() - started)
        if result["Result"] != "success":
            problems.append(f"the next job: {result['Error']}: {result['ErrorMessage']}" if "ErrorMessage" in result else f"the next job: {result}")
        else:
            wanted = {rig.LAYER_REF + blob.digest.replace(":", "_3A_") for blob in self.images.blobs}
            fetched = result["Outcome"].get("layers-fetched", 0)
            if fetched > len(wanted - done):
                problems.append(f"{fetched} layers fetched, {len(wanted - done)} were missing")
        if self.repository.leftovers():
            problems.append(f"left in tmp: {self.repository.leftovers()}")
        client.close()
        return target, struck, problems

    def workers(self):
        return subprocess.run(["pgrep", "-f", f"^{rig.WORKER}$"], capture_output=True, text=True).stdout.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="imaged-soak-") as directory:
        os.chmod(directory, 0o755)
        soak = Soak(directory, arguments.seed)
        try:
            for number in range(arguments.rounds):
                target, struck, problems = soak.round(number)
                failures += bool(problems)
                if problems:
                    print(f"round {number}: {target} {'killed' if struck else 'missed'}", *problems, sep="\n    ", flush=True)
                elif (number + 1) % 25 == 0:
                    print(f"{number + 1} rounds, {failures} failures", flush=True)
        finally:
            soak.daemon.stop()
    print(f"kill: {arguments.rounds} rounds, {failures} failures, seed {arguments.seed}; killed: "
          + ", ".join(f"{name} {count}" for name, count in sorted(soak.struck.items())) + f"; {soak.in_time} jobs failed of it")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
