# SPDX-License-Identifier: Apache-2.0
"""What the soak loops share: images that share layers and change, a daemon on a private bus, and what must hold after every blow."""
import os
import pathlib
import random
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import oci_layout
import ostree_repository
import real_daemon
from oci_layout import Entry

LAYER_REF, IMAGE_REF = "ostree/container/blob/", "ostree/container/image/"
WORKER = real_daemon.WORKER


def run(*command, **keywords):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **keywords).stdout


class Images:
    """An OCI layout whose image changes: some layers of a version are those of the one before. Deterministic in its seed."""

    def __init__(self, directory, seed, files=120, layers=4):
        self.layout, self.rng = oci_layout.Layout(directory), random.Random(seed)
        self.files, self.version = files, 0
        self.blobs = [self.layer(number) for number in range(layers)]
        self.publish()

    def layer(self, number):
        entries = [Entry(f"usr/l{number}/d{n % 7}/f{n}", content=self.rng.randbytes(self.rng.choice([0, 50, 3000, 20000]))) for n in range(self.files)]
        entries.append(Entry(f"usr/l{number}/large", content=self.rng.randbytes(400_000)))
        return oci_layout.layer(entries)

    def publish(self):
        # One tag that moves, and one other that stays where the first was.
        self.version += 1
        self.tag = "t" if self.version > 1 else "first"
        self.layout.manifests = [manifest for manifest in self.layout.manifests if "first" in manifest["annotations"].values()]
        self.digest = self.layout.image(self.tag, self.blobs)

    def change(self):
        self.blobs[self.rng.randrange(len(self.blobs))] = self.layer(self.rng.randrange(1000))
        self.publish()

    def reference(self, tag=None):
        return "ostree-unverified-image:" + self.layout.reference(tag or self.tag)


class Repository:
    def __init__(self, path):
        self.path, self.checked = pathlib.Path(path), set()
        if not (self.path / "config").exists():
            ostree_repository.init(self.path)

    def ostree(self, *arguments):
        return run("ostree", f"--repo={self.path}", *arguments)

    def refs(self):
        names = self.ostree("refs").split()
        return dict(zip(names, self.ostree("rev-parse", *names).split())) if names else {}

    def images(self):
        return {name: commit for name, commit in self.refs().items() if name.startswith(IMAGE_REF)}

    def check(self, before):
        """What must hold after any blow; BEFORE: images that were there. Returns what does not."""
        problems = []
        fsck = subprocess.run(["ostree", f"--repo={self.path}", "fsck", "--quiet"], capture_output=True, text=True)
        if fsck.returncode != 0:
            problems.append("fsck: " + (fsck.stdout + fsck.stderr).strip()[-500:])
        refs = self.refs()
        for name in before:
            if name not in refs:
                problems.append(f"{name} is gone")
        for name, commit in refs.items():
            # fsck has looked at every object; what it takes for wilfully partial is looked at here, once.
            if commit in self.checked:
                continue
            self.checked.add(commit)
            # Walks everything that the ref leads to.
            listing = subprocess.run(["ostree", f"--repo={self.path}", "ls", "-R", "-C", commit], capture_output=True, text=True)
            if listing.returncode != 0 or (self.path / "state" / f"{commit}.commitpartial").exists():
                problems.append(f"{name} is incomplete: {listing.stderr.strip()[-300:]}")
        return problems

    def leftovers(self):
        return [name for name in os.listdir(self.path / "tmp") if name.startswith("imaged-")]


class Daemon(real_daemon.Daemon):
    """imaged on a Repository."""

    def __init__(self, directory, repository):
        super().__init__(directory, repository.path)


def descendants(pid):
    """(pid, program name) of all processes below PID."""
    found = []
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return found
    for child in map(int, children):
        try:
            found.append((child, pathlib.Path(f"/proc/{child}/comm").read_text().strip()))
        except OSError:
            continue
        found += descendants(child)
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
