#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts the power: the bytes of the file below a loop device are copied in the middle of a pull, and the copy is mounted elsewhere.

./dev soak power --rounds N --seed S. On each copy: the file system's journal is replayed by the mount, fsck is clean, every ref is complete, no image is gone that was
there before the job, and the same pull completes and clears what was left. ext4 and XFS in turn. Needs root and loop devices.

The copy must be of one instant: bytes read one after the other would mix earlier data with later metadata, which no power cut does. So the file is on an XFS of its
own, where a clone is atomic.
"""
import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import rig
import worker

SIZE = 320 << 20  # XFS wants 300 MiB at least
HOST_SIZE = 8 << 30  # sparse
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


class Disk:
    """A file system in a file, mounted."""

    def __init__(self, directory, name, kind, size=SIZE):
        self.size = size
        self.file, self.mountpoint, self.kind = pathlib.Path(directory, name + ".img"), pathlib.Path(directory, name), kind
        self.mountpoint.mkdir(exist_ok=True)

    def make(self):
        with open(self.file, "wb") as file:
            file.truncate(self.size)
        rig.run(*MAKE[self.kind], self.file)
        return self.mount()

    def mount(self):
        # Two file systems with one UUID are mounted at a time.
        rig.run("mount", "-o", "loop" + (",nouuid" if self.kind == "xfs" else ""), self.file, self.mountpoint)
        return self

    def unmount(self):
        rig.run("umount", self.mountpoint)

    def snapshot(self, directory, name):
        """A copy of the bytes as they are at this instant; what is only in the page cache above the loop device is lost, as in a power cut."""
        copy = Disk(directory, name, self.kind)
        rig.run("cp", "--reflink=always", self.file, copy.file)
        return copy


def round_of(directory, images, kind, rng, typical):
    """One cut: (problems, seconds of the job)."""
    disk = Disk(directory, "disk", kind).make()
    problems = []
    try:
        repository = rig.Repository(disk.mountpoint / "repo")
        first = worker.pull(images.reference(), repository.path).result
        if first["outcome"] != "success":
            return [f"the first pull: {first}"], typical
        before = repository.images()
        images.change()
        started = time.monotonic()
        job = worker.Run(images.reference(), repository.path)
        finisher = threading.Thread(target=job.finish)
        finisher.start()
        time.sleep(rng.uniform(0, typical * 1.1))
        copy = disk.snapshot(directory, "copy")
        finisher.join()
        typical = 0.8 * typical + 0.2 * (time.monotonic() - started)
    finally:
        disk.unmount()
    try:
        copy.mount()
    except subprocess.CalledProcessError as error:
        return [f"the copy cannot be mounted: {error.stderr}"], typical
    try:
        after = rig.Repository(copy.mountpoint / "repo")
        problems += after.check(before)
        again = worker.pull(images.reference(), after.path).result
        if again["outcome"] != "success":
            problems.append(f"the next job: {again}")
        problems += after.check(before)
        if after.leftovers():
            problems.append(f"left in tmp: {after.leftovers()}")
    finally:
        copy.unmount()
    return problems, typical


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    failures, typical = 0, 2.0
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="imaged-power-") as directory:
        images = rig.Images(pathlib.Path(directory, "layout"), arguments.seed, files=80)
        host = Disk(directory, "host", "xfs", HOST_SIZE).make()
        try:
            for number in range(arguments.rounds):
                kind = ("ext4", "xfs")[number % 2]
                place = host.mountpoint / str(number)
                place.mkdir()
                problems, typical = round_of(place, images, kind, rng, typical)
                rig.run("rm", "-rf", place)
                failures += bool(problems)
                if problems:
                    print(f"round {number} on {kind}", *problems, sep="\n    ", flush=True)
                elif (number + 1) % 10 == 0:
                    print(f"{number + 1} rounds, {failures} failures", flush=True)
        finally:
            host.unmount()
    print(f"power: {arguments.rounds} rounds, {failures} failures, seed {arguments.seed}, ext4 and xfs in turn")
    return 1 if failures else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("power: needs root")
        sys.exit(77)
    if "POWER_NAMESPACE" not in os.environ:
        # Nobody else's namespace may keep a loop device busy that is done with here.
        os.environ["POWER_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    sys.exit(main())
