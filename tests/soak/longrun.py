#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One life of the daemon: many jobs, and many clients that come, ask and go. Its memory and its descriptors stay what they were.

./dev soak longrun --jobs N --clients N
"""
import argparse
import os
import pathlib
import sys
import tempfile
import time

from gi.repository import GLib

import rig
from bus_fixture import MANAGER

# Growth that is let pass between the warm-up and the end: the allocator's, not a leak's.
MAX_GROWTH_KIB = 2048


class Watch:
    def __init__(self, pid):
        self.pid = pid

    def look(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        rss = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        return rss, len(os.listdir(f"/proc/{self.pid}/fd"))


def phase(name, count, step, watch):
    """Runs STEP COUNT times; a fifth of it is the warm-up, in which as many finished jobs come together as are kept. True when nothing grew."""
    warm, first = max(count // 5, 1), None
    started = time.monotonic()
    for number in range(count):
        step(number)
        if number + 1 == warm or (number + 1) % max(count // 4, 1) == 0:
            rss, fds = watch.look()
            print(f"{name} {number + 1}: {rss} KiB resident, {fds} descriptors", flush=True)
            first = first or (rss, fds)
    rss, fds = watch.look()
    good = rss - first[0] <= MAX_GROWTH_KIB and fds <= first[1]
    print(f"{count} {name}: {rss - first[0]:+} KiB, {fds - first[1]:+} descriptors since {warm}; {time.monotonic() - started:.0f} s; {'flat' if good else 'GROWN'}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=10000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="imaged-long-") as directory:
        os.chmod(directory, 0o755)
        images = rig.Images(pathlib.Path(directory, "layout"), 1, files=5, layers=2)
        repository = rig.Repository(pathlib.Path(directory, "repo"))
        daemon = rig.Daemon(directory, repository)
        try:
            watch, client = Watch(daemon.process.pid), daemon.client()

            def job(number):
                if number % 50 == 0:
                    images.change()
                # In between, jobs that fail and jobs that find all there.
                reference = images.reference("missing") if number % 5 == 4 else images.reference()
                result = client.finished(client.pull(reference), timeout=60)
                assert (result["Result"] == "success") == (number % 5 != 4), result

            def visitor(_):
                other = daemon.client()
                other.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))
                other.close()

            good = phase("jobs", arguments.jobs, job, watch)
            good = phase("clients", arguments.clients, visitor, watch) and good
            client.close()
        finally:
            daemon.stop()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
